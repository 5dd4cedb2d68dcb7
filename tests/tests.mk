# Tests: LLVM's lit runs every file below tests/ that has a RUN line. Golden text is checked by FileCheck or diff; C
# tests are cmocka programs (tests/FOLDER/NAME_test.c) with `// RUN: %unit`, built here.

LIT := python3 /usr/lib/llvm-14/build/utils/lit/lit.py
UNIT_SOURCES := $(wildcard tests/*/*_test.c)
UNITS := $(patsubst tests/%.c,$(OUT)/tests/units/%,$(UNIT_SOURCES))
TOOLS := $(patsubst tests/tools/%.c,$(OUT)/%,$(wildcard tests/tools/*.c))
# What tests share; sees the compiler only.
LIBTEST := $(OUT)/libtest.a
LIBTEST_OBJECTS := $(patsubst %.c,$(OUT)/%.o,$(wildcard tests/support/*.c))
RUNTIME_TEST_LIBS := $(LIBRUNTIME) $(RUNTIME_LIBRARIES) -ldl

.PHONY: test check units
check: moec $(UNITS) $(TOOLS) $(OUT)/tests/units/run
	MOEC_OUT=$(OUT) $(LIT) $(LITFLAGS) -sv tests

units: $(UNITS)

$(OUT)/tests/units/run: tests/tools/run-unit
	@mkdir -p $(@D)
	cp $< $@

$(LIBTEST): $(LIBTEST_OBJECTS)
	rm -f $@ && ar rcs $@ $^

# Tests of the runtime link the runtime only; the rest link the compiler; codegen's link both.
$(OUT)/tests/units/runtime/%: tests/runtime/%.c $(LIBRUNTIME)
	@mkdir -p $(@D)
	$(CC) $(CFLAGS) $(RUNTIME_CFLAGS) -MMD -MP -o $@ $< -lcmocka $(RUNTIME_TEST_LIBS)

$(OUT)/tests/units/codegen/%: tests/codegen/%.c $(LIBTEST) $(LIBMOEC) $(LIBRUNTIME)
	@mkdir -p $(@D)
	$(CC) $(CFLAGS) $(RUNTIME_CFLAGS) -MMD -MP -rdynamic -o $@ $< $(LIBTEST) -lcmocka $(LIBMOEC) $(RUNTIME_TEST_LIBS)

$(OUT)/tests/units/%: tests/%.c $(LIBTEST) $(LIBMOEC)
	@mkdir -p $(@D)
	$(CC) $(CFLAGS) -MMD -MP -o $@ $< $(LIBTEST) -lcmocka $(LIBMOEC) -lm

$(OUT)/%: tests/tools/%.c $(LIBTEST) $(LIBMOEC) $(LIBRUNTIME)
	@mkdir -p $(@D)
	$(CC) $(CFLAGS) $(RUNTIME_CFLAGS) -MMD -MP -rdynamic -o $@ $< $(LIBTEST) $(LIBMOEC) $(RUNTIME_TEST_LIBS)

-include $(LIBTEST_OBJECTS:.o=.d)
