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

COMPILER_SOURCES := $(wildcard ir/*.c passes/*.c codegen/*.c frontend/*.c)
PARSER := $(OUT)/frontend/parser.c $(OUT)/frontend/scanner.c
LIBRARY_OBJECTS := $(patsubst %.c,$(OUT)/%.o,$(filter-out frontend/main.c,$(COMPILER_SOURCES))) $(PARSER:.c=.o)
RUNTIME_OBJECTS := $(patsubst %.c,$(OUT)/%.o,$(filter-out runtime/main.c,$(wildcard runtime/*.c)))
RUNTIME_MAIN := $(OUT)/runtime/main.o

MOEC := $(OUT)/moec
LIBMOEC := $(OUT)/libmoec.a
LIBRUNTIME := $(OUT)/libmoecrt.a

.PHONY: all
all: moec

moec: $(MOEC) $(LIBRUNTIME) $(RUNTIME_MAIN)
	ln -sf $(MOEC) moec

$(MOEC): $(OUT)/frontend/main.o $(LIBMOEC)
	$(CC) $(CFLAGS) -o $@ $^ -lm

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
	$(CC) $(CFLAGS) -MMD -MP -c -o $@ $<

.PHONY: clean
clean:
	rm -rf $(BUILD) moec

include tests/tests.mk

-include $(LIBRARY_OBJECTS:.o=.d) $(RUNTIME_OBJECTS:.o=.d) $(OUT)/frontend/main.d
