// RUN: %unit %s
/* Lowering: what does not show in golden text. Sameness of two runs, what the two graphs share, values of numbers, and
   that no source, however large its model, keeps the compiler busy. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "frontend/frontend.h"

/* One compilation: its module, and what was said. */
typedef struct {
    Arena *arena;
    Module *module;
    char *messages;
} Compilation;

static Compilation compile_with(const char *text, const LowerOptions *options) {
    Compilation c = {.arena = arena_new()};
    size_t n_bytes;
    FILE *out = open_memstream(&c.messages, &n_bytes);
    Diagnostics *diagnostics = diagnostics_new(c.arena, out, DIAGNOSTICS_COLOR_NEVER);
    c.module = frontend_compile_text(c.arena, "test.moe", text, strlen(text), options, diagnostics);
    diagnostics_flush(diagnostics);
    fclose(out);
    if (c.module != NULL && c.messages[0] != '\0')
        fail_msg("a model that compiles said: %s", c.messages);
    return c;
}

static Compilation compile(const char *text) {
    LowerOptions options = {0};
    return compile_with(text, &options);
}

static void compilation_free(Compilation *c) {
    free(c->messages);
    arena_free(c->arena);
}

static void require_module(const Compilation *c) {
    if (c->module == NULL)
        fail_msg("the model does not compile: %s", c->messages);
}

static const char sizes[] = "model test\nsize B = 2, T = 8, vocab = 16, d = 4, layers = 3, half = T / 2\n";

static const char layers_text[] =
    "fn norm(x: [.., d]) { weight scale: [d] = \"weight\" return x * scale }\n"
    "fn main(tokens: i32[B, T]) {\n"
    "  weight embed: [vocab, d] = \"embed\"\n"
    "  x = embed[tokens]\n"
    "  for l in 0 .. layers in \"layers.{l}\" { x = x + norm(norm(x) in \"a\") in \"b\" }\n"
    "  y = reshape(x, [B, 2, half, d])\n"
    "  return linear(reshape(y, [B, T, d]), embed)\n"
    "}\n";

static const char *layers_model(Arena *arena, const char *clauses) {
    return arena_printf(arena, "%s%s%s", sizes, layers_text, clauses);
}

/* ---- Modules ------------------------------------------------------------------------------------------------------
 */

static char *module_text(const Module *module) {
    char *text;
    size_t n_bytes;
    FILE *out = open_memstream(&text, &n_bytes);
    module_print(out, module);
    fclose(out);
    return text;
}

static void two_runs_give_the_same_bytes(void **state) {
    (void)state;
    Arena *arena = arena_new();
    Compilation a = compile(layers_model(arena, "")), b = compile(layers_model(arena, ""));
    require_module(&a);
    char *a_text = module_text(a.module), *b_text = module_text(b.module);
    assert_string_equal(a_text, b_text);
    free(a_text);
    free(b_text);
    compilation_free(&a);
    compilation_free(&b);
    arena_free(arena);
}

static size_t count_nodes(const Graph *graph, OpKind op, uint32_t scope) {
    size_t n = 0;
    for (const Node *node = graph->first; node != NULL; node = node->next)
        n += node->op == op && node->scope == scope;
    return n;
}

static void both_graphs_share_scopes_and_states(void **state) {
    (void)state;
    Arena *arena = arena_new();
    Compilation c = compile(layers_model(arena, ""));
    require_module(&c);
    assert_int_equal(c.module->n_graphs, 2);
    assert_int_equal(c.module->n_scopes, 1 + 3 * 2);
    assert_int_equal(c.module->n_states, 1 + 3 * 2);
    for (uint32_t i = 1; i < c.module->n_scopes; i++) {
        const Scope *scope = &c.module->scopes[i];
        assert_string_equal(scope->function, "norm");
        assert_int_equal(scope->ordinal, i - 1);
        assert_string_equal(scope->path,
                            arena_printf(arena, "layers.%u.%s", (i - 1) / 2, (i - 1) % 2 == 0 ? "a" : "b"));
        for (size_t g = 0; g < 2; g++)
            assert_int_equal(count_nodes(c.module->graphs[g], OP_state, i), 1);
    }
    compilation_free(&c);
    arena_free(arena);
}

static void assert_type(const Value *value, const char *expected) {
    assert_non_null(value);
    Arena *arena = arena_new();
    assert_string_equal(type_format(arena, &value->type), expected);
    arena_free(arena);
}

static void generate_sees_one_sequence_of_the_window(void **state) {
    (void)state;
    Arena *arena = arena_new();
    LowerOptions options = {.generate_window = 6};
    Compilation c = compile_with(layers_model(arena, "train { steps T }"), &options);
    require_module(&c);
    assert_type(graph_find_output(module_find_graph(c.module, "forward"), "logits"), "f32[B=2, T=8, vocab=16]");
    assert_type(graph_find_output(module_find_graph(c.module, "forward"), "nll"), "f32[]");
    assert_type(graph_find_output(module_find_graph(c.module, "generate"), "logits"), "f32[B=1, T=6, vocab=16]");
    assert_null(graph_find_output(module_find_graph(c.module, "generate"), "nll"));
    /* What comes after sees the sizes of training again. */
    assert_int_equal(attrs_int(&module_find_directive(c.module, "train")->attrs, "steps", 0), 8);
    compilation_free(&c);
    options.generate_window = 0;
    c = compile_with(layers_model(arena, ""), &options);
    assert_type(graph_find_output(module_find_graph(c.module, "generate"), "logits"), "f32[B=1, T=8, vocab=16]");
    compilation_free(&c);
    arena_free(arena);
}

static void a_loop_over_the_length_makes_scopes_that_differ(void **state) {
    (void)state;
    Arena *arena = arena_new();
    const char *text = arena_printf(arena, "%s%s", sizes,
                                    "fn twice(x: [.., d]) { return x + x }\n"
                                    "fn main(tokens: i32[B, T]) {\n"
                                    "  weight embed: [vocab, d] = \"embed\"\n"
                                    "  x = embed[tokens]\n"
                                    "  for t in 0 .. T in \"{t}\" { x = twice(x) }\n"
                                    "  return linear(twice(x) in \"end\", embed)\n"
                                    "}\n");
    LowerOptions options = {.generate_window = 10};
    Compilation c = compile_with(text, &options);
    require_module(&c);
    const Node *last = module_find_graph(c.module, "generate")->last->operands[0]->def;
    assert_int_equal(last->op, OP_add);
    assert_string_equal(c.module->scopes[last->scope].path, "end");
    assert_int_equal(c.module->scopes[last->scope].ordinal, 10);
    compilation_free(&c);
    arena_free(arena);
}

static void the_command_line_replaces_sizes(void **state) {
    (void)state;
    Arena *arena = arena_new();
    SizeOverride overrides[] = {{"T", 4}, {"layers", 1}};
    LowerOptions options = {.overrides = overrides, .n_overrides = 2};
    Compilation c = compile_with(layers_model(arena, ""), &options);
    require_module(&c);
    assert_int_equal(c.module->n_scopes, 3);
    assert_type(graph_find_output(module_find_graph(c.module, "forward"), "logits"), "f32[B=2, T=4, vocab=16]");
    compilation_free(&c);
    arena_free(arena);
}

/* ---- Numbers ------------------------------------------------------------------------------------------------------
 */

static void numbers_are_worked_out_while_compiling(void **state) {
    (void)state;
    static const struct {
        const char *text;
        double value;
    } cases[] = {
        {"sqrt(d)", 2},
        {"d / 8.0", 0.5},
        {"-d + 3", -1},
        {"2 * half - 7", 1},
        {"rsqrt(16.0)", 0.25},
        {"exp(1)", 2.718281828459045},
        {"log(exp(2))", 2},
        {"tanh(0.5)", 0.46211715726000973},
        {"sigmoid(-1)", 0.2689414213699951},
        {"relu(-3)", 0},
        {"relu(3)", 3},
        {"silu(1)", 0.7310585786300049},
        {"gelu(1)", 0.8413447460685429},
        {"gelu_tanh(1)", 0.8411919906082768},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        Arena *arena = arena_new();
        Compilation c = compile(arena_printf(arena,
                                             "%sfn main(tokens: i32[B, T]) {\n"
                                             "  weight embed: [vocab, d] = \"embed\"\n"
                                             "  return linear(embed[tokens], embed) * (%s)\n}\n",
                                             sizes, cases[i].text));
        require_module(&c);
        const Value *logits = graph_find_output(module_find_graph(c.module, "generate"), "logits");
        double value = attrs_float(&logits->def->operands[1]->def->attrs, "value", NAN);
        if (!(fabs(value - cases[i].value) <= 1e-15 * fmax(1, fabs(value))))
            fail_msg("%s is %.17g, not %.17g", cases[i].text, value, cases[i].value);
        compilation_free(&c);
        arena_free(arena);
    }
}

/* ---- Limits -------------------------------------------------------------------------------------------------------
 */

static char *repeat(Arena *arena, const char *format, int n) {
    char *text;
    size_t n_bytes;
    FILE *out = open_memstream(&text, &n_bytes);
    for (int i = 0; i < n; i++) {
        for (const char *at = format; *at != '\0'; at++) {
            if (*at == '@')
                fprintf(out, "%d", i);
            else if (*at == '$')
                fprintf(out, "%d", i + 1);
            else
                putc(*at, out);
        }
    }
    fclose(out);
    char *copy = arena_strdup(arena, text);
    free(text);
    return copy;
}

/* The model with these items and with `body` in main is refused, with a message that has `expected`. */
static void assert_refused(Arena *arena, const char *items, const char *body, const char *expected) {
    Compilation c = compile(arena_printf(arena,
                                         "%s%sfn main(tokens: i32[B, T]) {\n"
                                         "  weight embed: [vocab, d] = \"embed\"\n"
                                         "  x = embed[tokens]\n%s\n  return linear(x, embed)\n}\n",
                                         sizes, items, body));
    assert_null(c.module);
    if (strstr(c.messages, expected) == NULL)
        fail_msg("expected \"%s\", got: %.600s", expected, c.messages);
    compilation_free(&c);
}

static void models_without_end_are_refused(void **state) {
    (void)state;
    Arena *arena = arena_new();
    static const char steps[] = "the model is larger than 200000 statements and expressions here";
    static const char *const bodies[] = {
        "for l in 0 .. 1_000_000_000_000 { }",
        "for l in 0 .. 1_000_000_000_000 { x = x + l }",
        "for l in 0 .. 1_000_000_000_000 in \"{l}\" { weight w: [d] = \"w\" x = x * w }",
        "for l in 1 .. 1_000_000_000_000 { y = vocab * d * layers * T * B * l }",
    };
    for (size_t i = 0; i < sizeof bodies / sizeof bodies[0]; i++)
        assert_refused(arena, "", bodies[i], steps);
    const char *doubling = repeat(arena, "fn f@(x: [..]) { return f$(f$(x)) }\n", 60);
    doubling = arena_printf(arena, "%sfn f60(x: [..]) { return x }\n", doubling);
    assert_refused(arena, doubling, "x = f0(x)", steps);
    const char *nest =
        arena_printf(arena, "%sx = x + 1%s", repeat(arena, "for l@ in 0 .. 2 { ", 100), repeat(arena, "}", 100));
    assert_refused(arena, "", nest, steps);
    arena_free(arena);
}

static void deep_models_are_refused(void **state) {
    (void)state;
    Arena *arena = arena_new();
    static const char depth[] = "nested more than 400 deep here";
    const char *chain = repeat(arena, "fn f@(x: [..]) { for l in 0 .. 1 { x = f$(x) } return x }\n", 500);
    chain = arena_printf(arena, "%sfn f500(x: [..]) { return x }\n", chain);
    assert_refused(arena, chain, "x = f0(x)", depth);
    assert_refused(arena, "", arena_printf(arena, "x = x%s", repeat(arena, " + x", 5000)), depth);
    const char *links = arena_printf(arena, "size %sa5000 = 3\n", repeat(arena, "a@ = a$, ", 5000));
    assert_refused(arena, links, "", depth);
    arena_free(arena);
}

static void large_tensors_are_refused(void **state) {
    (void)state;
    Arena *arena = arena_new();
    static const char large[] = "has more than 2^48 elements";
    static const char size[] = "size g = 281_474_976_710_656\n";
    static const char *const bodies[] = {
        "weight w: [g, 2] = \"w\"",
        "weight w: [g] = \"w\" y = concat(w, w, dim = g)",
        "weight w: [g] = \"w\" y = matmul(reshape(w, [g, 1]), reshape(w, [1, g]))",
        "weight w: [g, 1] = \"w\" y = reshape(w, [g, d])",
    };
    for (size_t i = 0; i < sizeof bodies / sizeof bodies[0]; i++)
        assert_refused(arena, size, bodies[i], large);
    assert_refused(arena, "size g2 = 281_474_976_710_657\n", "", "it must be at least 1 and at most 2^48");
    arena_free(arena);
}

static void long_names_and_long_functions_are_refused(void **state) {
    (void)state;
    Arena *arena = arena_new();
    const char *name = repeat(arena, "{l}", 400);
    assert_refused(arena, "", arena_printf(arena, "for l in 100 .. 103 { weight w: [d] = \"%s\" }", name),
                   "the name of a tensor has at most 1000 characters here");
    assert_refused(arena, "", repeat(arena, "v@ = x\n", 1100), "a function can have 1000 variables");
    assert_refused(arena, arena_printf(arena, "size %s = 1\n", repeat(arena, "n", 201)), "",
                   "a name has at most 200 characters");
    arena_free(arena);
}

static void errors_beyond_a_hundred_end_it(void **state) {
    (void)state;
    Arena *arena = arena_new();
    assert_refused(arena, "", repeat(arena, "y = unknown@\n", 3000), "moec: 80 more errors are not shown");
    arena_free(arena);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(two_runs_give_the_same_bytes),
        cmocka_unit_test(both_graphs_share_scopes_and_states),
        cmocka_unit_test(generate_sees_one_sequence_of_the_window),
        cmocka_unit_test(a_loop_over_the_length_makes_scopes_that_differ),
        cmocka_unit_test(the_command_line_replaces_sizes),
        cmocka_unit_test(numbers_are_worked_out_while_compiling),
        cmocka_unit_test(models_without_end_are_refused),
        cmocka_unit_test(deep_models_are_refused),
        cmocka_unit_test(large_tensors_are_refused),
        cmocka_unit_test(long_names_and_long_functions_are_refused),
        cmocka_unit_test(errors_beyond_a_hundred_end_it),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
