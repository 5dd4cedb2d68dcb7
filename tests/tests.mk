# Tests: LLVM's lit runs every file below tests/ that has a RUN line. Golden text is checked by FileCheck or diff; C
# tests are cmocka programs (tests/FOLDER/NAME_test.c) with `// RUN: %unit`, built here.

TEST_PACKAGES := llvm-14-tools clang-14 libclang-rt-14-dev libomp-14-dev libcmocka-dev clang-format clang-tidy \
    shellcheck black git python3-venv
# torch.compile calls g++.
BENCH_PACKAGES := g++ python3-venv
UNIT_SOURCES := $(wildcard tests/*/*_test.c)
UNITS := $(patsubst tests/%.c,$(OUT)/tests/units/%,$(UNIT_SOURCES))
TOOLS := $(patsubst tests/tools/%.c,$(OUT)/%,$(wildcard tests/tools/*.c))
# What tests share; sees the compiler only.
LIBTEST := $(OUT)/libtest.a
LIBTEST_OBJECTS := $(patsubst %.c,$(OUT)/%.o,$(wildcard tests/support/*.c tests/simt/*.c))
# The same for tests of the runtime, which see nothing else.
LIBTEST_RUNTIME := $(OUT)/libtest_runtime.a
LIBTEST_RUNTIME_OBJECTS := $(patsubst %.c,$(OUT)/%.o,$(wildcard tests/support_runtime/*.c))
# What runs kernels on a device; sees both.
LIBTEST_GPU := $(OUT)/libtest_gpu.a
LIBTEST_GPU_OBJECTS := $(patsubst %.c,$(OUT)/%.o,$(wildcard tests/gpu/*.c))
# NVIDIA's libraries for machines without a GPU: one object under all names.
FAKE_CUDA := $(OUT)/tests/fake_cuda/libcuda.so.1
# The same with kernels that run on the CPU.
SIM_CUDA := $(OUT)/tests/sim_cuda/lib64/libcuda.so.1
RUNTIME_TEST_LIBS := $(LIBRUNTIME) $(RUNTIME_LIBRARIES) -ldl

.PHONY: test setup-test check units fuzzers lint tidy bench bench-gemm bench-kernels
# Everything, from a bare machine: what the tests need is installed, then all of it runs under the sanitizers.
test: setup-test
	@$(MAKE) --no-print-directory -j$(JOBS) moec
	@$(MAKE) --no-print-directory -j$(JOBS) SANITIZE=1 FUZZ_SECONDS=60 MOEC_FUZZ=1 check

setup-test:
	@tests/tools/install-packages $(BUILD_PACKAGES) $(TEST_PACKAGES)
	@tests/tools/setup-nvrtc $(BUILD)/nvrtc

# Leaks of what lives to the end of the process are not errors; the tests of each module check their own.
check: moec units $(TOOLS) $(if $(filter 1,$(MOEC_FUZZ)),fuzzers)
	MOEC_OUT=$(OUT) tests/tools/run-lit $(LITFLAGS) tests

# clang sees all C but runtime/cpu.c, where clang 14 does not know the names of all features, and what needs CUDA's headers.
CLANG_SOURCES = $(filter-out runtime/cpu.c tests/runtime/Inputs/cuda_abi.c,$(shell git ls-files '*.c'))
CLANG_FLAGS = $(CFLAGS) -Wmissing-field-initializers $(RUNTIME_CFLAGS) -DMOEC_VERSION=\"\" \
    -DMOEC_SANITIZE_FLAGS=\"\" -DMOEC_OPENBLAS=\"\" -DMOEC_RUNTIME_LIBRARIES=\"\"

lint: $(PARSER)
	@echo $(CLANG_SOURCES) | xargs -P$(JOBS) -n16 clang-14 -fsyntax-only $(CLANG_FLAGS)
	@tests/tools/lint

# What .clang-tidy asks for; over a minute.
tidy: $(PARSER)
	@echo $(CLANG_SOURCES) | xargs -P$(JOBS) -n1 sh -c 'clang-tidy --quiet "$$@" -- $(CLANG_FLAGS) 2>/dev/null' tidy

# Training steps beside PyTorch's (tests/bench/training_step.py --help lists flags for BENCHFLAGS), how they grow, and what
# compiling takes. MOEC_BENCH_PYTHON: a Python with torch; without it one is made below build/.
BENCH := $(BUILD)/bench
BENCHFLAGS ?=
bench:
	@tests/tools/install-packages $(BUILD_PACKAGES) $(BENCH_PACKAGES)
	@$(MAKE) --no-print-directory -j$(JOBS) moec
	@python=$$(tests/bench/setup-torch $(BENCH)) && python3 tests/bench/training_step.py $(MOEC) --python "$$python" \
	    --folder $(BENCH) --json $(BENCH)/training_step.json $(BENCHFLAGS)
	@python3 tests/bench/growth.py $(MOEC) --folder $(BENCH) --json $(BENCH)/growth.json $(filter --quick,$(BENCHFLAGS))
	@python3 tests/bench/compile_time.py $(MOEC) models/llama3_8b_e8t2.moe $(if $(filter --quick,$(BENCHFLAGS)),1)

# Matrix products beside OpenBLAS, whose kernels the environment may have chosen: it shall not here.
bench-gemm: $(OUT)/gemm_bench
	env -u OPENBLAS_CORETYPE -u OPENBLAS_L2_SIZE $(OUT)/gemm_bench

$(OUT)/gemm_bench: tests/bench/gemm_bench.c $(LIBRUNTIME)
	@echo "  LINK  $@"
	$(Q)$(CC) $(CFLAGS) $(RUNTIME_CFLAGS) -MMD -MP -o $@ $< $(LIBRUNTIME) $(RUNTIME_LIBRARIES)

# Generated kernels, one by one: those of attention, of rows of logits, of routers, of the optimizer.
bench-kernels: $(OUT)/kernel_bench
	$(OUT)/kernel_bench tests/bench/attention.ir tests/bench/rows.ir tests/bench/routing.ir tests/bench/updates.ir

$(OUT)/kernel_bench: tests/bench/kernel_bench.c $(LIBTEST) $(LIBMOEC) $(LIBRUNTIME)
	@echo "  LINK  $@"
	$(Q)$(CC) $(CFLAGS) $(RUNTIME_CFLAGS) -MMD -MP -rdynamic -Wl,--undefined=moec_gemm -o $@ $< $(LIBTEST) $(LIBMOEC) \
	    $(RUNTIME_TEST_LIBS)

# The same on a CUDA device.
$(OUT)/cuda_kernel_bench: tests/bench/cuda_kernel_bench.c $(LIBTEST_GPU) $(LIBTEST) $(LIBMOEC) $(LIBRUNTIME)
	@echo "  LINK  $@"
	$(Q)$(CC) $(CFLAGS) $(RUNTIME_CFLAGS) -MMD -MP $(KERNEL_LINK_FLAGS) -o $@ $< $(LIBTEST_GPU) $(LIBTEST) $(LIBMOEC) \
	    $(RUNTIME_TEST_LIBS)

# Everything that only a GPU shows (tests/gpu/check.py --help); CHECKFLAGS are for that. Its programs are built where that
# can be done; else those that `make gpu-pack` made elsewhere are taken.
.PHONY: gpu-check gpu-pack gpu-programs
GPU_PROGRAMS := $(BUILD)/gpu-programs
CHECKFLAGS ?=
gpu-check:
	@tests/gpu/prepare $(GPU_PROGRAMS) $(MAKE) --no-print-directory -j$(JOBS) gpu-programs
	@python3 tests/gpu/check.py --programs $(GPU_PROGRAMS) --out $(GPU_RESULTS) $(CHECKFLAGS)

GPU_TESTS := $(addprefix $(OUT)/tests/units/codegen/,form_cuda_test form_cuda_attention_test) $(OUT)/cuda_kernel_bench
gpu-programs: moec $(GPU_TESTS)
	@python3 tests/gpu/programs.py $(OUT) $(GPU_PROGRAMS)

gpu-pack:
	@$(MAKE) --no-print-directory -j$(JOBS) gpu-programs
	XZ_OPT='-T0 --lzma2=preset=3,dict=96MiB' tar -C $(BUILD) -cJf $(GPU_PROGRAMS).tar.xz $(notdir $(GPU_PROGRAMS))

# The unit tests' programs, and the script that lit runs them by.
units: $(UNITS) $(OUT)/tests/units/run $(FAKE_CUDA) $(SIM_CUDA) $(OUT)/cuda_kernel_bench

$(OUT)/tests/units/run: tests/tools/run-unit
	@mkdir -p $(@D)
	$(Q)cp $< $@

$(LIBTEST): $(LIBTEST_OBJECTS)
	@echo "  AR    $@"
	$(Q)rm -f $@ && ar rcs $@ $^

$(LIBTEST_RUNTIME): $(LIBTEST_RUNTIME_OBJECTS)
	@echo "  AR    $@"
	$(Q)rm -f $@ && ar rcs $@ $^

$(LIBTEST_GPU): $(LIBTEST_GPU_OBJECTS)
	@echo "  AR    $@"
	$(Q)rm -f $@ && ar rcs $@ $^

$(FAKE_CUDA): $(wildcard tests/fake_cuda/*.c tests/fake_cuda/*.h tests/simt/simt_tensor_map.*) runtime/cuda_api.h
	@mkdir -p $(@D)
	@echo "  LINK  $@"
	$(Q)$(CC) $(CFLAGS) -fPIC -shared -o $@ $(filter %.c,$^)
	$(Q)ln -sf $(@F) $(@D)/libnvrtc.so.13 && ln -sf $(@F) $(@D)/libcublasLt.so.13

SIM_CUDA_SOURCES := $(filter-out tests/fake_cuda/fake_code.c,$(wildcard tests/fake_cuda/*.c)) $(wildcard tests/sim_cuda/*.c) \
    $(filter-out tests/simt/simt_load.c,$(wildcard tests/simt/*.c))
$(SIM_CUDA): $(SIM_CUDA_SOURCES) $(wildcard tests/fake_cuda/*.h tests/simt/*.h) runtime/cuda_api.h
	@mkdir -p $(@D)
	@echo "  LINK  $@"
	$(Q)$(CC) $(CFLAGS) -fPIC -shared -o $@ $(filter %.c,$^) -lm
	$(Q)ln -sf $(@F) $(@D)/libnvrtc.so.13 && ln -sf $(@F) $(@D)/libcublasLt.so.13

# Tests of the runtime link the runtime only; the rest link the compiler; codegen's link both, and hold what generated
# kernels call when they load them.
KERNEL_LINK_FLAGS := -rdynamic -Wl,--undefined=moec_gemm
$(OUT)/tests/units/runtime/%: tests/runtime/%.c $(LIBTEST_RUNTIME) $(LIBRUNTIME)
	@mkdir -p $(@D)
	@echo "  LINK  $@"
	$(Q)$(CC) $(CFLAGS) $(RUNTIME_CFLAGS) -MMD -MP -o $@ $< $(LIBTEST_RUNTIME) -lcmocka $(RUNTIME_TEST_LIBS)

$(OUT)/tests/units/codegen/%: tests/codegen/%.c $(LIBTEST_GPU) $(LIBTEST) $(LIBMOEC) $(LIBRUNTIME)
	@mkdir -p $(@D)
	@echo "  LINK  $@"
	$(Q)$(CC) $(CFLAGS) $(RUNTIME_CFLAGS) -MMD -MP $(KERNEL_LINK_FLAGS) -o $@ $< $(LIBTEST_GPU) $(LIBTEST) -lcmocka $(LIBMOEC) $(RUNTIME_TEST_LIBS)

$(OUT)/tests/units/%: tests/%.c $(LIBTEST) $(LIBMOEC)
	@mkdir -p $(@D)
	@echo "  LINK  $@"
	$(Q)$(CC) $(CFLAGS) -MMD -MP -o $@ $< $(LIBTEST) -lcmocka $(LIBMOEC) -lm

$(OUT)/%: tests/tools/%.c $(LIBTEST) $(LIBMOEC) $(LIBRUNTIME)
	@mkdir -p $(@D)
	@echo "  LINK  $@"
	$(Q)$(CC) $(CFLAGS) $(RUNTIME_CFLAGS) -MMD -MP $(KERNEL_LINK_FLAGS) -o $@ $< $(LIBTEST) $(LIBMOEC) $(RUNTIME_TEST_LIBS)

# Fuzzers: clang's libFuzzer, everything instrumented. Those named here link the compiler, the others the runtime, but for
# the files that need OpenMP, which no fuzzer calls.
FUZZ_CC := clang-14
FUZZ_FLAGS := -std=c11 -D_GNU_SOURCE -O1 -g -fsanitize=address,undefined -fno-sanitize-recover=undefined -I. -I$(OUT)
COMPILER_FUZZERS := dsl form module
FUZZERS := $(patsubst tests/fuzz/%_fuzz.c,$(OUT)/fuzz/%,$(wildcard tests/fuzz/*_fuzz.c))
FUZZ_COMPILER_OBJECTS := $(patsubst $(OUT)/%,$(OUT)/fuzz/%,$(LIBRARY_OBJECTS))
FUZZ_RUNTIME_SOURCES := $(filter-out runtime/main.c runtime/cpu.c runtime/blas.c runtime/gemm%.c, \
    $(wildcard runtime/*.c))
FUZZ_RUNTIME_OBJECTS := $(patsubst %.c,$(OUT)/fuzz/%.o,$(FUZZ_RUNTIME_SOURCES))

fuzzers: $(FUZZERS)

$(OUT)/fuzz/%.o: %.c | $(PARSER)
	@mkdir -p $(@D)
	@echo "  CC    $<"
	$(Q)$(FUZZ_CC) $(FUZZ_FLAGS) $(DEFINES) -fsanitize=fuzzer-no-link -MMD -MP -c -o $@ $<

$(OUT)/fuzz/frontend/parser.o $(OUT)/fuzz/frontend/scanner.o: $(OUT)/fuzz/frontend/%.o: $(OUT)/frontend/%.c
	@mkdir -p $(@D)
	@echo "  CC    $<"
	$(Q)$(FUZZ_CC) $(FUZZ_FLAGS) -fsanitize=fuzzer-no-link -MMD -MP -c -o $@ $<

$(OUT)/fuzz/frontend/options.o: DEFINES := -DMOEC_VERSION='"$(VERSION)"'
$(OUT)/fuzz/frontend/build.o: DEFINES := -DMOEC_SANITIZE_FLAGS='""' -DMOEC_OPENBLAS='""' -DMOEC_RUNTIME_LIBRARIES='""'

$(OUT)/fuzz/libmoec.a: $(FUZZ_COMPILER_OBJECTS)
	@echo "  AR    $@"
	$(Q)rm -f $@ && ar rcs $@ $^

$(OUT)/fuzz/libmoecrt.a: $(FUZZ_RUNTIME_OBJECTS)
	@echo "  AR    $@"
	$(Q)rm -f $@ && ar rcs $@ $^

$(patsubst %,$(OUT)/fuzz/%,$(COMPILER_FUZZERS)): $(OUT)/fuzz/%: tests/fuzz/%_fuzz.c $(OUT)/fuzz/libmoec.a
	@echo "  LINK  $@"
	$(Q)$(FUZZ_CC) $(FUZZ_FLAGS) -fsanitize=fuzzer -o $@ $^ -lm

$(filter-out $(patsubst %,$(OUT)/fuzz/%,$(COMPILER_FUZZERS)),$(FUZZERS)): $(OUT)/fuzz/%: tests/fuzz/%_fuzz.c $(OUT)/fuzz/libmoecrt.a
	@echo "  LINK  $@"
	$(Q)$(FUZZ_CC) $(FUZZ_FLAGS) -fsanitize=fuzzer -o $@ $^ $(RUNTIME_LIBRARIES)

-include $(LIBTEST_OBJECTS:.o=.d) $(LIBTEST_GPU_OBJECTS:.o=.d) $(LIBTEST_RUNTIME_OBJECTS:.o=.d) $(FUZZ_COMPILER_OBJECTS:.o=.d) $(FUZZ_RUNTIME_OBJECTS:.o=.d)
