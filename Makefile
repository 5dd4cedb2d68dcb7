# moec: `make` builds ./moec and the runtime that executables link; `make help` lists the rest.

CC ?= gcc
BUILD ?= build
# SANITIZE=1 builds everything, generated code included, with AddressSanitizer and UBSan, into a folder of its own.
SANITIZE ?= 0
WERROR ?= -Werror

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
RUNTIME_CFLAGS := -fopenmp

# Libraries that training executables link, statically where Debian has the archive. OpenBLAS in its OpenMP flavour: the
# pthreads flavour called from OpenMP code starts threads of its own in each thread.
OPENBLAS := $(firstword $(wildcard /usr/lib/*/openblas-openmp/libopenblas.a))
RUNTIME_LIBRARIES := $(OPENBLAS) -l:libjansson.a -l:libpcre2-8.a -lgomp -lm

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

moec: $(MOEC) $(LIBRUNTIME) $(PUBLIC_HEADERS)
ifeq ($(SANITIZE),0)
	@ln -sf $(MOEC) moec
endif

$(MOEC): $(OUT)/frontend/main.o $(LIBMOEC)
	$(CC) $(CFLAGS) -o $@ $^ -lm

$(OUT)/include/%.h: %.h
	@mkdir -p $(@D)
	cp $< $@

$(OUT)/frontend/options.o: DEFINES := -DMOEC_VERSION='"$(VERSION)"'
$(OUT)/frontend/build.o: DEFINES := -DMOEC_SANITIZE_FLAGS='"$(SANFLAGS)"' -DMOEC_RUNTIME_LIBRARIES='"$(RUNTIME_LIBRARIES)"'

$(LIBMOEC): $(LIBRARY_OBJECTS)
	rm -f $@ && ar rcs $@ $^

$(LIBRUNTIME): $(RUNTIME_OBJECTS)
	rm -f $@ && ar rcs $@ $^

$(OUT)/frontend/parser.c $(OUT)/frontend/parser.h: frontend/parser.y
	@mkdir -p $(@D)
	bison -Wall -Wcounterexamples -Werror --defines=$(OUT)/frontend/parser.h -o $(OUT)/frontend/parser.c $<

$(OUT)/frontend/scanner.c $(OUT)/frontend/scanner.h: frontend/scanner.l $(OUT)/frontend/parser.h
	@mkdir -p $(@D)
	flex --header-file=$(OUT)/frontend/scanner.h -o $(OUT)/frontend/scanner.c $<

# flex's and bison's output is not held to our warnings.
$(OUT)/frontend/scanner.o $(OUT)/frontend/parser.o: $(OUT)/frontend/%.o: $(OUT)/frontend/%.c
	$(CC) $(filter-out $(WARNINGS),$(CFLAGS)) -MMD -MP -c -o $@ $<

$(patsubst %.c,$(OUT)/%.o,$(wildcard frontend/*.c)): | $(OUT)/frontend/parser.h $(OUT)/frontend/scanner.h

$(OUT)/runtime/%.o: runtime/%.c
	@mkdir -p $(@D)
	$(CC) $(CFLAGS) $(RUNTIME_CFLAGS) -MMD -MP -c -o $@ $<

$(OUT)/%.o: %.c
	@mkdir -p $(@D)
	$(CC) $(CFLAGS) $(DEFINES) -MMD -MP -c -o $@ $<

.PHONY: clean
clean:
	rm -rf $(BUILD) moec

include tests/tests.mk

-include $(LIBRARY_OBJECTS:.o=.d) $(RUNTIME_OBJECTS:.o=.d) $(OUT)/frontend/main.d
