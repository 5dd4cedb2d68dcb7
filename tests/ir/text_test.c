// RUN: %unit %s
/* What prints reads back: the same bytes when printed again, and the same computation. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "passes/passes.h"
#include "tests/support/program.h"
#include "tests/support/random_states.h"
#include "tests/support/stages.h"

enum { N_PROGRAMS = 25, N_STEPS = 14 };

static const char *const stages[] = {"lower",     "autodiff",  "optimizer", "simplify", "products",
                                     "recompute", "precision", "layout",    "schedule", "memory"};
enum { N_STAGES = sizeof stages / sizeof *stages };

/* The module of the text, which prints as the text. */
static const Module *read_back(Arena *arena, const char *what, const char *text) {
    const char *error;
    const Module *again = module_read(arena, "again.ir", text, strlen(text), &error);
    if (!again)
        fail_msg("%s: %s", what, error);
    size_t n_bytes;
    expect_same_text(what, text, module_text(arena, again, &n_bytes));
    return again;
}

static void random_programs_read_back_after_each_pass(void **state) {
    (void)state;
    for (uint64_t seed = 0; seed < N_PROGRAMS; seed++) {
        for (int i = 0; i < N_STAGES; i++) {
            Arena *arena = arena_new();
            uint64_t data_seed;
            size_t n_bytes;
            const Module *module = random_stage(arena, seed, N_STEPS, stages[i], &data_seed);
            const Module *again = read_back(arena, stages[i], module_text(arena, module, &n_bytes));
            if (i == N_STAGES - 1)
                expect_same_values(module, again, data_seed, 0);
            arena_free(arena);
        }
    }
}

static void programs_about_states_read_back(void **state) {
    (void)state;
    for (uint64_t seed = 0; seed < N_PROGRAMS; seed++) {
        Arena *arena = arena_new();
        size_t n_bytes;
        const Module *module = random_state_program(arena, seed, 2 * N_STEPS);
        read_back(arena, "states", module_text(arena, module, &n_bytes));
        arena_free(arena);
    }
}

/* ---- By hand: everything that the text form can hold ------------------------------------------------------------ */

static void canonical_text_stays_as_it_is(void **state) {
    (void)state;
    Arena *arena = arena_new();
    read_back(arena, "empty", "module empty\n");
    read_back(arena, "all parts",
              "module all_parts\n"
              "\n"
              "file 0 \"a \\\"b\\\\ \\n\\t\\x01\\x7f \xc3\xa9.moe\"\n"
              "file 1 \"\"\n"
              "\n"
              "scope 0 \"main\" path \"\" ordinal 0 parent 0\n"
              "scope 1 \"mlp\" path \"layers.0\" ordinal 4294967294 parent 0 @1:2:3\n"
              "\n"
              "directive train \"\"\n"
              "directive upcycle \"mlp\" {experts = 4, top_k = 2 @0:3:5, \"a key, \\\"quoted\\\"\" = true} @0:20:1\n"
              "\n"
              "state \"w\" weight : f32[heads*head_dim=576, 3] {decay = false, std = 0.02} @0:7:3\n"
              "state \"grad:w\" grad : bf16[]\n"
              "\n"
              "graph none {\n"
              "}\n"
              "\n"
              "graph main attrs {a = [], b = [-1, 9223372036854775807, -9223372036854775808]} {\n"
              "  %0 = input {name = \"tokens\"} : i32[B=2, 3] @0:9:9 in 1\n"
              "  %a.b.1 = constant {value = nan} : f16[~rows=4, 5]\n"
              "  %2 = constant {value = -inf} : f32[]\n"
              "  %3 = constant {value = inf} : f32[]\n"
              "  %4 = constant {value = -0.0} : f32[]\n"
              "  %5 = constant {value = 0.1} : f32[]\n"
              "  %6 = constant {value = 1e-300} : f32[]\n"
              "  %7 = constant {value = 0.30000000000000004} : f32[]\n"
              "  %8 = constant {value = 123456789012345.0} : f32[]\n"
              "  %9 = constant {value = 3} : f32[]\n"
              "  %10, %11, %12 = route %0 {experts = 2, capacity = 0} : i32[3], i32[~rows=6], i32[B=2, 3]\n"
              "  output \"\" = %2\n"
              "  output \"x y\" = %a.b.1\n"
              "}\n");
    read_back(arena, "kernels",
              "module kernels\n"
              "\n"
              "graph main {\n"
              "  %0 = input {name = \"x\"} : f32[2, 3]\n"
              "  kernel {\n"
              "    %1 = neg %0 : f32[2, 3]\n"
              "  }\n"
              "  kernel attrs {form = \"rows\", bytes_in = 24, flops = 6.0} {\n"
              "    %2 = neg %1 : f32[2, 3]\n"
              "    %3 = transpose %2 {perm = [1, 0]} : f32[3, 2]\n"
              "    %4 = constant {value = 2.0} : f32[3, 2]\n"
              "    %5 = mul %3, %4 : f32[3, 2]\n"
              "  }\n"
              "  %6 = reshape %5 : f32[6]\n"
              "  %7 = exp %6 : f32[6]\n"
              "  output \"y\" = %7\n"
              "}\n");
    arena_free(arena);
}

/* Blanks, comments, names of values and of dims are the writer's; the printer has one form. */
static void other_layouts_mean_the_same(void **state) {
    (void)state;
    Arena *arena = arena_new();
    const char *text = "# a comment\n"
                       "module m graph main{%x=input{name=\"x\"}:f32[ 2 ,d=3]# another\n"
                       "%y\t=\r\n neg %x : f32[2, e=3] kernel{%v=reshape%y:f32[2,3]%7 = exp %v : f32[2,3] "
                       "%w=reshape%7:f32[2,3]} output \"z\" = %w}";
    const char *error;
    const Module *module = module_read(arena, "m.ir", text, strlen(text), &error);
    assert_non_null(module);
    size_t n_bytes;
    expect_same_text("one form",
                     "module m\n"
                     "\n"
                     "graph main {\n"
                     "  %x.0 = input {name = \"x\"} : f32[2, d=3]\n"
                     "  %y.1 = neg %x.0 : f32[2, e=3]\n"
                     "  %v.2 = reshape %y.1 : f32[2, 3]\n"
                     "  kernel {\n"
                     "    %3 = exp %v.2 : f32[2, 3]\n"
                     "  }\n"
                     "  %w.4 = reshape %3 : f32[2, 3]\n"
                     "  output \"z\" = %w.4\n"
                     "}\n",
                     module_text(arena, module, &n_bytes));
    arena_free(arena);
}

/* Numbers are given anew, in list order: nodes that moved print in their new order. */
static void printing_numbers_anew(void **state) {
    (void)state;
    Program program = program_read("graph main {\n"
                                   "  %0 = input {name = \"x\"} : f32[2]\n"
                                   "  %1 = neg %0 : f32[2]\n"
                                   "  %2 = exp %0 : f32[2]\n"
                                   "  output \"y\" = %2\n"
                                   "}\n");
    Graph *graph = program.module->graphs[0];
    graph_move(graph, graph->last, graph->last->prev);
    size_t n_bytes;
    expect_same_text("moved",
                     "module test\n"
                     "\n"
                     "graph main {\n"
                     "  %0 = input {name = \"x\"} : f32[2]\n"
                     "  %1 = exp %0 : f32[2]\n"
                     "  %2 = neg %0 : f32[2]\n"
                     "  output \"y\" = %1\n"
                     "}\n",
                     module_text(program.arena, program.module, &n_bytes));
    program_free(&program);
}

/* ---- Other forms ------------------------------------------------------------------------------------------------ */

static const char *const odd = "file 0 \"a\\\"b\\\\\\n\\x01.moe\"\n"
                               "scope 0 \"main\" path \"\" ordinal 0 parent 0 @0:1:2\n"
                               "directive export \"q\\\"\" {\"k \\\"\\\\\" = nan, list = [1, -2], on = true} @0:2:1\n"
                               "state \"w\\n\" weight : f32[a*b=6] {std = 1e+30}\n"
                               "graph main attrs {kept = \"\\t\"} {\n"
                               "  %x.0 = input {name = \"\\\"x\\\"\"} : f32[~rows=2, 3] @0:3:4\n"
                               "  %1 = constant {value = -inf} : f32[]\n"
                               "  kernel attrs {form = \"rows\"} {\n"
                               "    %2 = neg %1 : f32[]\n"
                               "  }\n"
                               "  output \"a\\\\b\" = %x.0\n"
                               "}\n";

static void expect_form(void (*print)(FILE *, const Module *), const char *expected) {
    Program program = program_read(odd);
    char *text;
    size_t n_bytes;
    FILE *out = open_memstream(&text, &n_bytes);
    print(out, program.module);
    fclose(out);
    expect_same_text("the form", expected, text);
    free(text);
    program_free(&program);
}

/* "\xc3\xa9" is UTF-8; a lone byte of it, an overlong form, a surrogate and a byte past the last plane are not. */
static void json_strings_are_utf8(void **state) {
    (void)state;
    Arena *arena = arena_new();
    Module *module = module_new(arena, "bytes");
    module_add_directive(module, "train",
                         "\xc3\xa9 \xe2\x82\xac \xf0\x9f\x98\x80 \xc3 \xa9 \xc0\x80 \xed\xa0\x80 \xf4\x90\x80\x80 "
                         "\xe2\x82",
                         (Loc){0});
    char *text;
    size_t n_bytes;
    FILE *out = open_memstream(&text, &n_bytes);
    module_print_json(out, module);
    fclose(out);
    assert_non_null(strstr(text, "\"\xc3\xa9 \xe2\x82\xac \xf0\x9f\x98\x80 \\u00c3 \\u00a9 \\u00c0\\u0080 "
                                 "\\u00ed\\u00a0\\u0080 \\u00f4\\u0090\\u0080\\u0080 \\u00e2\\u0082\""));
    free(text);
    arena_free(arena);
}

/* Any string and any number is JSON, where it has none as a string. */
static void json_holds_all(void **state) {
    (void)state;
    expect_form(
        module_print_json,
        "{\n"
        "  \"module\": \"test\",\n"
        "  \"scopes\": [\n"
        "    {\"function\": \"main\", \"path\": \"\", \"ordinal\": 0, \"parent\": 0, \"file\": "
        "\"a\\\"b\\\\\\u000a\\u0001.moe\", \"line\": 1, \"column\": 2}\n"
        "  ],\n"
        "  \"directives\": [\n"
        "    {\"kind\": \"export\", \"name\": \"q\\\"\", \"attrs\": {\"k \\\"\\\\\": \"nan\", \"list\": [1, "
        "-2], \"on\": true}, \"file\": \"a\\\"b\\\\\\u000a\\u0001.moe\", \"line\": 2, \"column\": 1}\n"
        "  ],\n"
        "  \"states\": [\n"
        "    {\"name\": \"w\\u000a\", \"kind\": \"weight\", \"type\": {\"dtype\": \"f32\", \"dims\": "
        "[{\"extent\": 6, \"name\": \"a*b\"}]}, \"attrs\": {\"std\": 1e+30}}\n"
        "  ],\n"
        "  \"graphs\": [\n"
        "    {\"name\": \"main\", \"attrs\": {\"kept\": \"\\u0009\"}, \"nodes\": [\n"
        "      {\"op\": \"input\", \"results\": [{\"value\": \"%x.0\", \"type\": {\"dtype\": \"f32\", "
        "\"dims\": [{\"extent\": 2, \"name\": \"rows\", \"ragged\": true}, {\"extent\": 3}]}}], "
        "\"operands\": [], \"attrs\": {\"name\": \"\\\"x\\\"\"}, \"file\": \"a\\\"b\\\\\\u000a\\u0001.moe\", "
        "\"line\": 3, \"column\": 4, \"flops\": 0, \"bytes\": 0},\n"
        "      {\"op\": \"constant\", \"results\": [{\"value\": \"%1\", \"type\": {\"dtype\": \"f32\", "
        "\"dims\": []}}], \"operands\": [], \"attrs\": {\"value\": \"-inf\"}, \"flops\": 0, \"bytes\": 0},\n"
        "      {\"op\": \"neg\", \"results\": [{\"value\": \"%2\", \"type\": {\"dtype\": \"f32\", "
        "\"dims\": []}}], \"operands\": [\"%1\"], \"attrs\": {}, \"kernel\": 0, \"flops\": 1, \"bytes\": 8}\n"
        "    ], \"kernels\": [{\"number\": 0, \"attrs\": {\"form\": \"rows\"}}], \"outputs\": {\"a\\\\b\": \"%x.0\"}}\n"
        "  ]\n"
        "}\n");
}

static void dot_quotes_names(void **state) {
    (void)state;
    expect_form(module_print_dot, "digraph \"test\" {\n"
                                  "  node [shape=box, fontname=monospace];\n"
                                  "  subgraph cluster_0 {\n"
                                  "    label=\"main\";\n"
                                  "    g0_0 [label=\"input\\n\\\"x\\\"\"];\n"
                                  "    g0_1 [label=\"constant\"];\n"
                                  "    subgraph cluster_0_0 { g0_2 [label=\"neg\"]; }\n"
                                  "    g0_1 -> g0_2 [label=\"f32[]\"];\n"
                                  "    g0_output0 [shape=ellipse, label=\"a\\\\b\"];\n"
                                  "    g0_0 -> g0_output0;\n"
                                  "  }\n"
                                  "}\n");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(random_programs_read_back_after_each_pass),
        cmocka_unit_test(programs_about_states_read_back),
        cmocka_unit_test(canonical_text_stays_as_it_is),
        cmocka_unit_test(other_layouts_mean_the_same),
        cmocka_unit_test(printing_numbers_anew),
        cmocka_unit_test(json_holds_all),
        cmocka_unit_test(json_strings_are_utf8),
        cmocka_unit_test(dot_quotes_names),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
