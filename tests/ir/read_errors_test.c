// RUN: %unit %s
/* What the reader says about text that is no module: one line, "line:column: reason". */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#include "ir/ir.h"

typedef struct {
    const char *name, *text, *error;
} Case;

#define GRAPH "module m\ngraph g {\n"
#define INPUT "  %x = input {name = \"x\"} : f32[2, 3]\n"

/* clang-format off */
static const Case cases[] = {
    {"an empty text", "", "1:1: expected 'module', found the end of the text"},
    {"another first word", "graph g {}", "1:1: expected 'module', found 'graph'"},
    {"a module without a name", "module \"m\"", "1:8: expected the module's name, found the string \"m\""},
    {"an unknown part", "module m\n" "node 1", "2:1: expected file, scope, directive, state or graph, found 'node'"},
    {"a file out of order",
     "module m\n" "file 1 \"a\"",
     "2:6: files count from 0 in order, and no path is there twice"},
    {"a file twice",
     "module m\n" "file 0 \"a\"\n" "file 1 \"a\"",
     "3:6: files count from 0 in order, and no path is there twice"},
    {"a scope's parent that is not there",
     "module m\n" "scope 0 \"main\" path \"\" ordinal 0 parent 1",
     "2:41: expected a parent below 1, found '1'"},
    {"a scope that is its own parent",
     "module m\n" "scope 0 \"main\" path \"\" ordinal 0 parent 0\n" "scope 1 \"f\" path \"\" ordinal 0 parent 1",
     "3:38: expected a parent below 1, found '1'"},
    {"a location in no file",
     "module m\n" "state \"w\" weight : f32[2] @0:1:1",
     "2:28: found '0' as a file's number, and there is none"},
    {"a location on line 0",
     "module m\n" "file 0 \"a\"\n" "state \"w\" weight : f32[2] @0:0:1",
     "3:33: line 0: lines count from 1"},
    {"a location without column",
     "module m\n" "file 0 \"a\"\n" "state \"w\" weight : f32[2] @0:1",
     "3:31: expected ':', found the end of the text"},
    {"a directive without a name", "module m\n" "directive train {}", "2:17: expected a directive's name, found '{'"},
    {"a state of an unknown kind",
     "module m\n" "state \"w\" momentum : f32[2]",
     "1:1: state \"w\" is a 'momentum'; it can be a weight, grad, moment1 or moment2"},
    {"a state twice",
     "module m\n" "state \"w\" weight : f32[2]\n" "state \"w\" weight : f32[2]",
     "1:1: state \"w\" is there twice"},
    {"a ragged state", "module m\n" "state \"w\" weight : f32[~2]", "1:1: state \"w\" is ragged"},
    {"a dtype that is none", "module m\n" "state \"w\" weight : f64[2]", "2:20: expected a type, found 'f64'"},
    {"a type without dims", "module m\n" "state \"w\" weight : f32", "2:23: expected '[', found the end of the text"},
    {"a dim of extent 0",
     "module m\n" "state \"w\" weight : f32[d=0]",
     "2:20: f32[d=0] dim 0 is d=0; an extent must be at least 1"},
    {"a negative dim",
     "module m\n" "state \"w\" weight : f32[-2]",
     "2:24: expected a dim such as 4, d=64 or ~rows=32, found '-2'"},
    {"a dim with an empty name",
     "module m\n" "state \"w\" weight : f32[=2]",
     "2:24: expected a dim such as 4, d=64 or ~rows=32, found '=2'"},
    {"a dim whose name has a quote",
     "module m\n" "state \"w\" weight : f32[2, \"d=2] {source = \"s\"}",
     "2:27: expected a dim such as 4, d=64 or ~rows=32, found '\"d=2'"},
    {"a dim that is too long a number",
     "module m\n" "state \"w\" weight : f32[9999999999999999999]",
     "2:24: 9999999999999999999 does not fit 64 bits"},
    {"too many elements",
     "module m\n" "state \"w\" weight : f32[16777216, 16777217]",
     "2:20: f32[16777216, 16777217] has more than 2^48 elements"},
    {"too many dims",
     "module m\n" "state \"w\" weight : f32[1, 1, 1, 1, 1, 1, 1]",
     "2:42: a tensor has at most 6 dims"},
    {"a ragged dim behind the first",
     "module m\n" "state \"w\" weight : f32[2, ~3]",
     "2:20: f32[2, ~3] dim 1 is ragged; only dim 0 can be"},
    {"an attribute without value", "module m\n" "state \"w\" weight : f32[2] {std}", "2:31: expected '=', found '}'"},
    {"an attribute twice",
     "module m\n" "state \"w\" weight : f32[2] {std = 1.0, std = 2.0}",
     "2:39: attribute 'std' is there twice"},
    {"a value that is none",
     "module m\n" "state \"w\" weight : f32[2] {std = big}",
     "2:34: expected a value of 'std', found 'big'"},
    {"a list of floats",
     "module m\n" "directive train \"\" {layers = [1, 2.5]}",
     "2:34: expected an integer, found '2.5'"},
    {"attributes without end",
     "module m\n" "state \"w\" weight : f32[2] {std = 1.0",
     "2:37: expected ',', found the end of the text"},
    {"a number with letters", "module m\n" "directive train \"\" {steps = 12k}", "2:29: '12k' is not a number"},
    {"a number of more than 64 bits",
     "module m\n" "directive train \"\" {steps = 9223372036854775808}",
     "2:29: 9223372036854775808 does not fit 64 bits"},
    {"a hexadecimal number", "module m\n" "directive train \"\" {steps = 0x10}", "2:29: '0x10' is not a number"},
    {"a string without end", "module m\n" "file 0 \"a\n", "2:8: the string has no closing quote on its line"},
    {"an unknown escape",
     "module m\n" "file 0 \"\\q\"",
     "2:8: the string has an escape or a zero byte that strings can't have"},
    {"half an escape",
     "module m\n" "file 0 \"\\x4\"",
     "2:8: the string has an escape or a zero byte that strings can't have"},
    {"a zero byte in a string",
     "module m\n" "file 0 \"\\x00\"",
     "2:8: the string has an escape or a zero byte that strings can't have"},
    {"a graph without a name", "module m\n" "graph {}", "2:7: expected a graph's name, found '{'"},
    {"a graph twice", "module m\n" "graph g {}\n" "graph g {}", "1:1: graph g is there twice"},
    {"a graph without end", GRAPH INPUT, "4:1: expected a value, found the end of the text"},
    {"a value used before it is defined",
     GRAPH "  %1 = neg %0 : f32[2]\n" "}\n",
     "3:12: %0 is used before it is defined"},
    {"a value defined twice", GRAPH INPUT "  %x = neg %x : f32[2, 3]\n" "}\n", "4:3: %x is defined twice"},
    {"a value of another graph",
     "module m\n" "graph f {\n" INPUT "}\n" "graph g {\n" "  output \"y\" = %x\n" "}",
     "6:16: %x is used before it is defined"},
    {"an op that is none", GRAPH INPUT "  %1 = sin %x : f32[2, 3]\n" "}\n", "4:8: there is no op 'sin'"},
    {"a node without a type", GRAPH INPUT "  %1 = neg %x\n" "}\n", "5:1: expected ':', found '}'"},
    {"an operand that is no value",
     GRAPH INPUT "  %1 = add %x, 1 : f32[2, 3]\n" "}\n",
     "4:16: expected a value, found '1'"},
    {"too few operands", GRAPH INPUT "  %1 = add %x : f32[2, 3]\n" "}\n", "4:3: add: it takes 2 operands, and has 1"},
    {"too many operands",
     GRAPH INPUT "  %1 = neg %x, %x : f32[2, 3]\n" "}\n",
     "4:3: neg: it takes 1 operand, and has 2"},
    {"too few results",
     GRAPH INPUT "  %1 = top_k %x {k = 1} : f32[2, 1]\n" "}\n",
     "4:3: top_k: it has 2 results; named here: 1, with a type: 1"},
    {"an attribute that the op does not have",
     GRAPH INPUT "  %1 = neg %x {k = 1} : f32[2, 3]\n" "}\n",
     "4:3: neg: it has no attribute 'k'; its attributes: none"},
    {"an attribute that the op needs",
     GRAPH INPUT "  %1 = transpose %x : f32[3, 2]\n" "}\n",
     "4:3: transpose: attribute 'perm' is missing; it is a list of integers"},
    {"an attribute of another kind",
     GRAPH INPUT "  %1 = transpose %x {perm = 1} : f32[3, 2]\n" "}\n",
     "4:3: transpose: attribute 'perm' must be a list of integers, and is an integer"},
    {"a type that is not the op's",
     GRAPH INPUT "  %1 = neg %x : f32[3, 2]\n" "}\n",
     "4:3: neg: result 0 is f32[2, 3], not f32[3, 2]"},
    {"an integer that is none",
     GRAPH "  %x = constant {value = 1.5} : i32[2]\n" "}\n",
     "3:3: constant: the value 1.5 is no i32"},
    {"an integer that is too large",
     GRAPH "  %x = constant {value = 2147483648.0} : i32[2]\n" "}\n",
     "3:3: constant: the value 2.14748e+09 is no i32"},
    {"a reshape to other elements",
     GRAPH INPUT "  %1 = reshape %x : f32[7]\n" "}\n",
     "4:3: reshape: f32[2, 3] cannot become f32[7]: the elements, and a ragged dim, must stay"},
    {"a state that the module has not",
     GRAPH "  %0 = state {name = \"w\"} : f32[2]\n" "}\n",
     "1:1: graph g: %0 = state: the module has no state \"w\""},
    {"a node in a scope that is not there",
     GRAPH "  %0 = input {name = \"x\"} : f32[2] in 1\n" "}\n",
     "3:39: found '1' as a scope's number, and there is none"},
    {"an output that is no value", GRAPH "  output \"y\" = y\n" "}\n", "3:16: expected a value, found 'y'"},
    {"an output twice",
     GRAPH INPUT "  output \"y\" = %x\n" "  output \"y\" = %x\n" "}\n",
     "1:1: graph g: output \"y\" is there twice"},
    {"an output without a name", GRAPH INPUT "  output y = %x\n" "}\n", "4:10: expected an output's name, found 'y'"},
    {"two inputs of one name",
     GRAPH INPUT "  %y = input {name = \"x\"} : f32[2]\n" "}\n",
     "1:1: graph g: %y.1 = input: the graph has two inputs \"x\""},
    {"a kernel without a brace",
     GRAPH INPUT "  kernel %1 = neg %x : f32[2, 3]\n" "}\n",
     "4:10: expected '{', found '%1'"},
    {"a kernel without end",
     GRAPH INPUT "  kernel { %1 = neg %x : f32[2, 3]\n" "}\n",
     "6:1: expected a value, found the end of the text"},
    {"a kernel in a kernel", GRAPH INPUT "  kernel { kernel {\n", "4:12: expected a value, found 'kernel'"},
    {"an output in a kernel", GRAPH INPUT "  kernel { output \"y\" = %x }\n", "4:12: expected a value, found 'output'"},
    {"a kernel that computes nothing",
     GRAPH INPUT "  kernel { %1 = reshape %x : f32[6] }\n" "}\n",
     "4:10: the kernel computes nothing: it needs a node that is neither leaf nor view"},
    {"an attribute that kernels do not have",
     GRAPH INPUT "  kernel attrs {shape = \"rows\"} { %1 = neg %x : f32[2, 3] }\n" "}\n",
     "1:1: graph g: %1 = neg: kernel: it has no attribute 'shape'; its attributes: form:s? "
     "bytes_in:i? bytes_out:i? flops:f? intensity:f? apart:s?"},
    {"an update of what is no state",
     GRAPH INPUT "  %y = accumulate %x, %x : f32[2, 3]\n" "}\n",
     "1:1: graph g: %y.1 = accumulate: operand 0 is written to, and is not a state"},
    {"a product of two dtypes",
     GRAPH INPUT "  %z = to_bf16 %x : bf16[2, 3]\n"
     "  %y = matmul %x, %z {mode = \"nt\"} : f32[2, 2]\n" "}\n",
     "5:3: matmul: operand 1 must be f32, and is bf16[2, 3]"},
    {"a product of bf16 in bf16",
     GRAPH "  %x = input {name = \"x\"} : bf16[2, 3]\n"
     "  %y = matmul %x, %x {mode = \"nt\"} : bf16[2, 2]\n" "}\n",
     "4:3: matmul: result 0 is f32[2, 2], not bf16[2, 2]"},
    {"bf16 of what is bf16",
     GRAPH "  %x = input {name = \"x\"} : bf16[2, 3]\n"
     "  %y = to_bf16 %x : bf16[2, 3]\n" "}\n",
     "4:3: to_bf16: operand 0 must be f32, and is bf16[2, 3]"},
};
/* clang-format on */

enum { N_CASES = sizeof cases / sizeof *cases };

/* The text in memory of its own size, so that reading past its end is found. */
static const Module *read_exactly(Arena *arena, const char *text, size_t n_bytes, const char **error) {
    char *copy = test_malloc(n_bytes > 0 ? n_bytes : 1);
    memcpy(copy, text, n_bytes);
    const Module *module = module_read(arena, "m.ir", copy, n_bytes, error);
    test_free(copy);
    return module;
}

static void check_case(void **state) {
    const Case *at = *state;
    Arena *arena = arena_new();
    const char *error = NULL;
    assert_null(read_exactly(arena, at->text, strlen(at->text), &error));
    assert_string_equal(error, at->error);
    arena_free(arena);
}

/* Every beginning of a text is an error or a module, never a crash. */
static void a_text_may_end_anywhere(void **state) {
    (void)state;
    const char *text = "module m\n"
                       "file 0 \"a\\x41\\n.moe\"\n"
                       "scope 0 \"main\" path \"\" ordinal 0 parent 0 @0:1:1\n"
                       "directive upcycle \"mlp\" {experts = 4 @0:1:1, top_k = -2, share = 0.5e-3, on = true}\n"
                       "state \"w\" weight : f32[heads*dim=6, 3] {std = 0.02} @0:7:3\n"
                       "graph main attrs {a = [1, 2]} {\n"
                       "  %0 = input {name = \"x\"} : f32[~rows=2, 3] @0:9:9 in 0\n"
                       "  %v.1, %2 = top_k %0 {k = 2} : f32[2, 2], i32[2, 2] # comment\n"
                       "  kernel attrs {form = \"rows\"} { %3 = exp %v : f32[2, 2] }\n"
                       "  output \"y\" = %2\n"
                       "}\n";
    for (size_t n = 0; n <= strlen(text); n++) {
        Arena *arena = arena_new();
        const char *error;
        const Module *module = read_exactly(arena, text, n, &error);
        assert_true((module == NULL) == (error != NULL));
        arena_free(arena);
    }
}

static void a_zero_byte_is_an_error(void **state) {
    (void)state;
    Arena *arena = arena_new();
    const char *error;
    assert_null(read_exactly(arena, "module m\n\0", 10, &error));
    assert_string_equal(error, "2:1: expected file, scope, directive, state or graph, found ''");
    arena_free(arena);
}

int main(void) {
    struct CMUnitTest tests[N_CASES + 2];
    for (size_t i = 0; i < N_CASES; i++)
        tests[i] = (struct CMUnitTest){cases[i].name, check_case, NULL, NULL, (void *)(uintptr_t)&cases[i]};
    tests[N_CASES] = (struct CMUnitTest)cmocka_unit_test(a_text_may_end_anywhere);
    tests[N_CASES + 1] = (struct CMUnitTest)cmocka_unit_test(a_zero_byte_is_an_error);
    return _cmocka_run_group_tests("reader errors", tests, N_CASES + 2, NULL, NULL);
}
