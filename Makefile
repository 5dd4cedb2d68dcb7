# moec: `make` builds ./moec and the runtime that executables link; `make help` lists the rest.

CC ?= gcc
BUILD ?= build
# Where gpu-check leaves its results: OUT of the environment, which is not what is called OUT below.
GPU_RESULTS := $(if $(filter environment,$(origin OUT)),$(OUT),$(BUILD)/gpu-check)
# SANITIZE=1 builds everything, generated code included, with AddressSanitizer and UBSan, into a folder of its own.
SANITIZE ?= 0
WERROR ?= -Werror
# V=1 shows the commands of a build.
Q := $(if $(V),,@)
# Of the targets that build everything by themselves.
JOBS := $(shell nproc)

ifeq ($(SANITIZE),1)
OUT := $(BUILD)/sanitize
SANFLAGS := -fsanitize=address,undefined -fno-sanitize-recover=undefined -fno-omit-frame-pointer
else
OUT := $(BUILD)/release
SANFLAGS :=
endif

WARNINGS := -Wall -Wextra -Wshadow -Wconversion $(WERROR)
CFLAGS ?= -O2 -g
override CFLAGS += -std=c11 -D_GNU_SOURCE $(WARNINGS) $(SANFLAGS) -I. -I$(OUT)
RUNTIME_CFLAGS := -fopenmp $(patsubst %/cblas.h,-I%,$(firstword $(wildcard /usr/include/*/openblas-openmp/cblas.h)))

# Libraries that training executables link, statically where Debian has the archive. OpenBLAS in its OpenMP flavour: the
# pthreads flavour called from OpenMP code starts threads of its own in each thread.
OPENBLAS := $(firstword $(wildcard /usr/lib/*/openblas-openmp/libopenblas.a))
RUNTIME_LIBRARIES := $(OPENBLAS) -l:libjansson.a -l:libpcre2-8.a -lgomp -lm

# Debian packages: of the compiler and the executables it builds.
BUILD_PACKAGES := gcc libc6-dev make flex bison pkg-config libjansson-dev libpcre2-dev libopenblas-openmp-dev
# Of the demo: Python for its converters, and English text.
DEMO_PACKAGES := python3-venv python3.11-doc

VERSION := 0.1.0

COMPILER_SOURCES := $(wildcard ir/*.c passes/*.c codegen/*.c frontend/*.c)
PARSER := $(OUT)/frontend/parser.c $(OUT)/frontend/scanner.c
LIBRARY_OBJECTS := $(patsubst %.c,$(OUT)/%.o,$(filter-out frontend/main.c,$(COMPILER_SOURCES))) $(PARSER:.c=.o)
RUNTIME_OBJECTS := $(patsubst %.c,$(OUT)/%.o,$(wildcard runtime/*.c))
# The headers that generated C includes.
PUBLIC_HEADERS := $(patsubst %,$(OUT)/include/%,$(wildcard runtime/*.h))

MOEC := $(OUT)/moec
LIBMOEC := $(OUT)/libmoec.a
LIBRUNTIME := $(OUT)/libmoecrt.a

.PHONY: all
all: moec

.PHONY: help
help:
	@echo "make              build the compiler, ./moec"
	@echo "make demo         upcycle SmolLM2-135M to 8 experts and train it on text (installs what it needs)"
	@echo "make demo TINY=1  the same with a small model, in under a minute"
	@echo "make test         all tests, under the sanitizers (installs what it needs)"
	@echo "make check        the tests without fuzzing, as built; LITFLAGS='--filter NAME' runs some"
	@echo "make bench        training steps beside PyTorch's, how they grow, compile time (installs what it needs);"
	@echo "                  BENCHFLAGS=--quick only tries whether all of it works"
	@echo "make gpu-check    what only a GPU can show, in 9 minutes: results, speed beside PyTorch; JSON in OUT"
	@echo "make gpu-pack     what gpu-check needs, for a GPU machine that cannot build it: build/gpu-programs.tar.xz"
	@echo "make lint         layout of code and scripts, clang's warnings, who includes whom"
	@echo "make tidy         clang-tidy's checks, over a minute"
	@echo "make setup        install what building needs"
	@echo "make clean        remove build/ and ./moec"

.PHONY: setup
setup:
	@tests/tools/install-packages $(BUILD_PACKAGES)

# The rest of the set-up runs first: what it installs, this Makefile looks for when it is read.
.PHONY: demo
demo:
	@tests/tools/install-packages $(BUILD_PACKAGES) $(DEMO_PACKAGES)
	@$(MAKE) --no-print-directory -j$(JOBS) moec
	@MOEC_BUILD=$(BUILD) models/demo/run $(if $(TINY),tiny)

moec: $(MOEC) $(LIBRUNTIME) $(PUBLIC_HEADERS)
ifeq ($(SANITIZE),0)
	@ln -sf $(MOEC) moec
endif

$(MOEC): $(OUT)/frontend/main.o $(LIBMOEC)
	@echo "  LINK  $@"
	$(Q)$(CC) $(CFLAGS) -o $@ $^ -lm

$(OUT)/include/%.h: %.h
	@mkdir -p $(@D)
	$(Q)cp $< $@

$(OUT)/frontend/options.o: DEFINES := -DMOEC_VERSION='"$(VERSION)"'
$(OUT)/frontend/build.o: DEFINES := -DMOEC_SANITIZE_FLAGS='"$(SANFLAGS)"' -DMOEC_OPENBLAS='"$(OPENBLAS)"' \
    -DMOEC_RUNTIME_LIBRARIES='"$(filter-out $(OPENBLAS),$(RUNTIME_LIBRARIES))"'

$(LIBMOEC): $(LIBRARY_OBJECTS)
	@echo "  AR    $@"
	$(Q)rm -f $@ && ar rcs $@ $^

$(LIBRUNTIME): $(RUNTIME_OBJECTS)
	@echo "  AR    $@"
	$(Q)rm -f $@ && ar rcs $@ $^

$(OUT)/frontend/parser.c $(OUT)/frontend/parser.h &: frontend/parser.y
	@mkdir -p $(@D)
	@echo "  BISON $<"
	$(Q)bison -Wall -Wcounterexamples -Werror --defines=$(OUT)/frontend/parser.h -o $(OUT)/frontend/parser.c $<

$(OUT)/frontend/scanner.c $(OUT)/frontend/scanner.h &: frontend/scanner.l $(OUT)/frontend/parser.h
	@mkdir -p $(@D)
	@echo "  FLEX  $<"
	$(Q)flex --header-file=$(OUT)/frontend/scanner.h -o $(OUT)/frontend/scanner.c $<

# flex's and bison's output is not held to our warnings.
$(OUT)/frontend/scanner.o $(OUT)/frontend/parser.o: $(OUT)/frontend/%.o: $(OUT)/frontend/%.c
	@echo "  CC    $<"
	$(Q)$(CC) $(filter-out $(WARNINGS),$(CFLAGS)) -MMD -MP -c -o $@ $<

$(patsubst %.c,$(OUT)/%.o,$(wildcard frontend/*.c)) $(PARSER:.c=.o): | $(OUT)/frontend/parser.h $(OUT)/frontend/scanner.h

$(OUT)/runtime/%.o: runtime/%.c
	@mkdir -p $(@D)
	@echo "  CC    $<"
	$(Q)$(CC) $(CFLAGS) $(RUNTIME_CFLAGS) -MMD -MP -c -o $@ $<

$(OUT)/%.o: %.c
	@mkdir -p $(@D)
	@echo "  CC    $<"
	$(Q)$(CC) $(CFLAGS) $(DEFINES) -MMD -MP -c -o $@ $<

.PHONY: clean
clean:
	rm -rf $(BUILD) moec

include tests/tests.mk

-include $(LIBRARY_OBJECTS:.o=.d) $(RUNTIME_OBJECTS:.o=.d) $(OUT)/frontend/main.d
