# Tests: LLVM's lit runs every file below tests/ that has a RUN line. Golden text is checked by FileCheck or diff; C
# tests are cmocka programs (tests/FOLDER/NAME_test.c) with `// RUN: %unit`, built here.

LIT := python3 /usr/lib/llvm-14/build/utils/lit/lit.py
UNIT_SOURCES := $(wildcard tests/*/*_test.c)
UNITS := $(patsubst tests/%.c,$(OUT)/tests/units/%,$(UNIT_SOURCES))
TOOLS := $(patsubst tests/tools/%.c,$(OUT)/%,$(wildcard tests/tools/*.c))
# What executables made by moec need besides the runtime.
RUNTIME_LIBS := -l:libjansson.a -l:libpcre2-8.a -L/usr/lib/x86_64-linux-gnu/openblas-openmp -lopenblas -lgomp -lm -ldl
RUNTIME_TEST_LIBS := $(LIBRUNTIME) $(RUNTIME_LIBS)

.PHONY: test check units
check: moec $(UNITS) $(TOOLS) $(OUT)/tests/units/run
	MOEC_OUT=$(OUT) $(LIT) $(LITFLAGS) -sv tests

units: $(UNITS)

$(OUT)/tests/units/run: tests/tools/run-unit
	@mkdir -p $(@D)
	cp $< $@

# Tests of the runtime link the runtime only; the rest link the compiler; codegen's link both.
$(OUT)/tests/units/runtime/%: tests/runtime/%.c $(LIBRUNTIME)
	@mkdir -p $(@D)
	$(CC) $(CFLAGS) $(RUNTIME_CFLAGS) -MMD -MP -o $@ $< -lcmocka $(RUNTIME_TEST_LIBS)

$(OUT)/tests/units/codegen/%: tests/codegen/%.c $(LIBMOEC) $(LIBRUNTIME)
	@mkdir -p $(@D)
	$(CC) $(CFLAGS) $(RUNTIME_CFLAGS) -MMD -MP -rdynamic -o $@ $< -lcmocka $(LIBMOEC) $(RUNTIME_TEST_LIBS)

$(OUT)/tests/units/%: tests/%.c $(LIBMOEC)
	@mkdir -p $(@D)
	$(CC) $(CFLAGS) -MMD -MP -o $@ $< -lcmocka $(LIBMOEC) -lm

$(OUT)/%: tests/tools/%.c $(LIBMOEC) $(LIBRUNTIME)
	@mkdir -p $(@D)
	$(CC) $(CFLAGS) $(RUNTIME_CFLAGS) -MMD -MP -rdynamic -o $@ $< $(LIBMOEC) $(RUNTIME_TEST_LIBS)
