// RUN: %unit %s
/* Clauses: the directives that they become, and one error for each thing that can be wrong with a setting. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "frontend/frontend.h"

/* The clauses under test stand on line 2. */
static const char *const before = "model m\n";
static const char *const after = "\n"
                                 "size B = 2, T = 4, d = 8, ff = 4 * d, vocab = 11, layers = 2\n"
                                 "const eps = 1e-5\n"
                                 "fn norm(x: [.., d]) {\n"
                                 "  weight scale: [d] = \"norm.weight\" init ones\n"
                                 "  return x * scale\n"
                                 "}\n"
                                 "fn mlp(x: [.., d]) {\n"
                                 "  weight up: [ff, d] = \"up.weight\"\n"
                                 "  weight down: [d, ff] = \"down.weight\"\n"
                                 "  return linear(relu(linear(x, up)), down)\n"
                                 "}\n"
                                 "fn spare(x: [.., d]) { return x }\n"
                                 "fn main(tokens: i32[B, T]) {\n"
                                 "  weight embed: [vocab, d] = \"embed.weight\"\n"
                                 "  x = embed[tokens]\n"
                                 "  for l in 0 .. layers in \"layers.{l}\" { x = x + mlp(norm(x)) in \"mlp\" }\n"
                                 "  return linear(x, embed)\n"
                                 "}\n";

/* Without the locations, which are " @FILE:LINE:COLUMN". */
static void strip_locations(char *text) {
    char *to = text;
    for (const char *from = text; *from != '\0';) {
        size_t n = strncmp(from, " @", 2) == 0 ? 2 + strspn(from + 2, "0123456789:") : 0;
        if (n > 2)
            from += n;
        else
            *to++ = *from++;
    }
    *to = '\0';
}

/* What compiling prints: the module, or the diagnostics. The caller frees it. */
static char *compile(const char *clauses, const LowerOptions *options, bool *is_good) {
    Arena *arena = arena_new();
    char *text = NULL;
    size_t n;
    FILE *out = open_memstream(&text, &n);
    Diagnostics *diagnostics = diagnostics_new(arena, out, DIAGNOSTICS_COLOR_NEVER);
    const char *source = arena_printf(arena, "%s%s%s", before, clauses, after);
    Module *module = frontend_compile_text(arena, "m.moe", source, strlen(source), options, diagnostics);
    diagnostics_flush(diagnostics);
    if (module != NULL)
        module_print(out, module);
    fclose(out);
    *is_good = module != NULL;
    arena_free(arena);
    return text;
}

static void expect_text(const char *clauses, const char *text, const char *expected) {
    if (strstr(text, expected) == NULL)
        fail_msg("%s\nexpected: %s\nfound:\n%s", clauses, expected, text);
}

/* ---- Good clauses ------------------------------------------------------------------------------------------------ */

typedef struct {
    const char *clauses, *expected;
} Case;

#define TRAIN_DEFAULTS                                                                                                 \
    "steps = 1000, lr = 0.0001, min_lr = 0.1, schedule = \"cosine\", warmup = 0, optimizer = \"adamw\", beta1 = 0.9, " \
    "beta2 = 0.95, epsilon = 1e-08, weight_decay = 0.1, clip = 1.0, eval_every = 0, save_every = 0, seed = 0, "        \
    "global_batch = 2, decay_steps = 100}\n"

static const Case good_cases[] = {
    {"upcycle mlp { experts 4 top_k 2 }",
     "directive upcycle \"mlp\" {experts = 4, top_k = 2, router = \"topk_then_softmax\", router_init = \"normal\", "
     "router_std = 0.02, router_name = \"gate.weight\", capacity = 0.0, balance = 0.0, z_loss = 0.0, "
     "layers = [0, -1, 1], init = \"replicate\", segments = 1, shared = 0}\n"},
    {"upcycle mlp { router softmax_then_topk router_init zeros router_name \"router.weight\" capacity 1.25 "
     "balance 1e-2 z_loss eps layers 1 .. layers init noise(std = 0.1) hidden ff shared 1 segments 2 top_k 2 experts 2 "
     "* 2 }",
     "{router = \"softmax_then_topk\", router_init = \"zeros\", router_name = \"router.weight\", capacity = 1.25, "
     "balance = 0.01, z_loss = 1e-05, layers = [1, 2, 1], init = \"noise\", noise = 0.1, hidden = \"4*d\", "
     "shared = 1, segments = 2, top_k = 2, experts = 4}\n"},
    {"upcycle mlp { experts 4 top_k 2 layers every(2, from = 1) init drop(0.5) }",
     "layers = [1, -1, 2], init = \"drop\", "
     "drop = 0.5,"},
    {"upcycle mlp { experts 4 top_k 2 layers every(2) capacity dropless }", "layers = [0, -1, 2], capacity = 0.0,"},
    {"upcycle mlp { experts 4 top_k 2 layers all router_init normal }",
     "layers = [0, -1, 1], router_init = \"normal\", "
     "router_std = 0.02,"},
    {"", "directive train \"\" {" TRAIN_DEFAULTS},
    {"train { }", "directive train \"\" {" TRAIN_DEFAULTS},
    {"train { steps 7 schedule wsd optimizer adamw(0.8, weight_decay = 0.0) global_batch 2 * B }",
     "{steps = 7, schedule = \"wsd\", optimizer = \"adamw\", beta1 = 0.8, weight_decay = 0.0, beta2 = 0.95, "
     "epsilon = 1e-08, global_batch = 4,"},
    {"mesh { context 2 }", "directive mesh \"\" {context = 2, data = 1, expert = 1, tensor = 1, pipeline = 1}\n"},
    {"checkpoint { hidden_size d eps eps factor 8.0 big 10000.0 name \"a\\\"b\" tied true \"no name\" = [1, [null], "
     "-2] "
     "rope { type \"x\" f 0.5 } empty [] }",
     "directive checkpoint \"\" {hidden_size = \"8\", eps = \"1e-05\", factor = \"8.0\", big = \"1e+04\", "
     "name = \"\\\"a\\\\\\\"b\\\"\", tied = \"true\", \"no name\" = \"[1, [null], -2]\", "
     "rope = \"{\\\"type\\\": \\\"x\\\", \\\"f\\\": 0.5}\", empty = \"[]\"}\n"},
    {"export x { a experts b top_k - 1 c balance e ff / segments holds [shared, partial_layers] \"mlp.gate\" = "
     "\"router\" } upcycle mlp { experts 4 top_k 2 balance 0.5 segments 2 }",
     "directive export \"x\" {a = \"4\", b = \"1\", c = \"0.5\", e = \"16\", holds = \"shared partial_layers\", "
     "\"rename:mlp.gate\" = \"router\"}\n"},
    {"export x { holds shared }", "directive export \"x\" {holds = \"shared\"}\n"},
    /* Who decays. */
    {"",
     "state \"embed.weight\" weight : f32[vocab=11, d=8] {source = \"embed.weight\", init = \"normal\", std = 0.02, "
     "export = \"embed.weight\", decay = true}\n"},
    {"", "export = \"layers.0.norm.weight\", decay = false}\n"},
    {"train { \"embed*\" = no_decay }", "export = \"embed.weight\", decay = false}\n"},
    {"train { \"*\" = decay \"*.norm.*\" = no_decay \"layers.1.*\" = decay }",
     "export = \"layers.0.norm.weight\", decay = false}\n"},
    {"train { \"*\" = decay \"*.norm.*\" = no_decay \"layers.1.*\" = decay }",
     "export = \"layers.1.norm.weight\", decay = true}\n"},
};

static void check_good(void **state) {
    const LowerOptions options = {.dense = false};
    (void)state;
    for (size_t i = 0; i < sizeof good_cases / sizeof *good_cases; i++) {
        bool is_good;
        char *text = compile(good_cases[i].clauses, &options, &is_good);
        strip_locations(text);
        expect_text(good_cases[i].clauses, text, good_cases[i].expected);
        free(text);
    }
}

static void check_locations(void **state) {
    const LowerOptions options = {.dense = false};
    bool is_good;
    char *text = compile("train { lr 1e-3 optimizer adamw(eps = 1e-5) }", &options, &is_good);
    (void)state;
    expect_text("locations", text,
                "{lr = 0.001 @0:2:12, optimizer = \"adamw\" @0:2:27, epsilon = 1e-05 @0:2:39, "
                "beta1 = 0.9 @0:2:27,");
    free(text);
}

static void check_dense(void **state) {
    static const char *const clauses = "upcycle mlp { experts 4 top_k 2 } export x { a experts } checkpoint { b 1 }";
    const LowerOptions dense = {.dense = true};
    bool is_good;
    char *text = compile(clauses, &dense, &is_good);
    (void)state;
    assert_true(is_good);
    assert_null(strstr(text, "directive upcycle"));
    assert_null(strstr(text, "directive export"));
    expect_text(clauses, text, "directive checkpoint");
    free(text);
    text = compile("upcycle mlp { experts 4 top_k 5 }", &dense, &is_good);
    assert_false(is_good);
    free(text);
}

/* ---- Bad clauses ------------------------------------------------------------------------------------------------- */

/* `expected` follows "m.moe:2:". */
static const Case bad_cases[] = {
    /* Keys. */
    {"upcycle mlp { experts 4 topk 2 }", "25: error: upcycle has no setting 'topk'; did you mean 'top_k'?"},
    {"mesh { width 2 }", "8: note: it has data, expert, tensor, context and pipeline"},
    {"train { \"steps\" = 3 }", "19: error: \"steps\" must be decay or no_decay"},
    {"mesh { \"data\" = 1 }", "8: error: mesh has no setting 'data'; its name stands without quotes"},
    {"mesh { data 1 data 1 }", "15: error: 'data' is set twice"},
    {"mesh { data 1 data 1 }", "8: note: it is set here first"},
    {"train { \"a*\" = decay \"a*\" = decay }", "22: error: 'a*' is set twice"},
    {"checkpoint { a 1 a 2 }", "18: error: 'a' is set twice"},
    {"checkpoint { r { a 1 a 2 } }", "22: error: 'a' is set twice"},
    {"upcycle mlp { experts 4 }", "1: error: upcycle needs 'top_k'"},
    {"mesh { } mesh { }", "10: error: a model has one mesh clause"},
    /* Kinds. */
    {"train { steps 1.5 }", "15: error: steps must be an integer, and this is 1.5"},
    {"train { steps \"many\" }", "15: error: steps must be a number"},
    {"train { steps { a 1 } }", "9: error: steps must be a number"},
    {"train { lr 1 .. 2 }", "12: error: lr must be a number"},
    {"train { lr nothing }", "12: error: 'nothing' is not defined"},
    {"train { schedule cosin }", "18: error: schedule must be cosine, wsd or constant; did you mean 'cosine'?"},
    {"train { schedule \"cosine\" }", "18: error: schedule must be cosine, wsd or constant"},
    {"train { schedule cosine(1) }", "25: error: 'cosine' takes no arguments"},
    {"train { optimizer adamw(beta3 = 1) }",
     "33: error: 'adamw' has no argument 'beta3'; it has beta1, beta2, eps and weight_decay"},
    {"train { optimizer adamw(0.1, beta1 = 0.2) }", "38: error: 'beta1' is given twice"},
    {"train { optimizer adamw(0.1, 0.1, 0.1, 0.1, 0.1) }", "45: error: 'adamw' takes at most 4 arguments"},
    {"train { optimizer adamw() in \"x\" }", "30: error: a setting has no path"},
    {"train { \"e*\" = maybe }", "16: error: \"e*\" must be decay or no_decay"},
    {"upcycle mlp { experts 4 top_k 2 router_name 3 }", "45: error: router_name must be a string that is not empty"},
    {"upcycle mlp { experts 4 top_k 2 router_name \"\" }", "45: error: router_name must be a string that is not empty"},
    {"upcycle mlp { experts 4 top_k 2 capacity droples }",
     "42: error: capacity must be a number or 'dropless'; did you mean 'dropless'?"},
    {"upcycle mlp { experts 4 top_k 2 layers [1] }", "40: error: layers must be `all`, a range such as `4 .. 8`, or"},
    {"upcycle mlp { experts 4 top_k 2 layers every() }", "40: error: 'every' needs 'step'"},
    {"upcycle mlp { experts 4 top_k 2 hidden 8 }", "40: error: hidden must name a dim, as the model's sizes do"},
    {"upcycle mlp { experts 4 top_k 2 init noise }", "38: error: 'noise' needs 'std'"},
    {"checkpoint { a 1 .. 2 }", "16: error: config.json has no ranges"},
    {"checkpoint { a 1e999 }", "16: error: the value is inf, which JSON cannot write"},
    {"checkpoint { a experts } upcycle mlp { experts 4 top_k 2 }", "16: error: 'experts' is not defined"},
    {"export x { a experts }", "14: error: 'experts' is not defined"},
    {"export x { holds everything }", "18: error: holds must be softmax_then_topk, shared or partial_layers"},
    {"export x { \"a\" = 3 }", "18: error: a rename is \"SUFFIX\" = \"SUFFIX\""},
    {"export x { \"\" = \"b\" }", "12: error: an empty string ends every name"},
    /* Ranges. */
    {"train { steps 0 }", "15: error: steps must be at least 1, and this is 0"},
    {"train { lr 0.0 }", "12: error: lr must be more than 0, and this is 0"},
    {"train { lr 1e999 }", "12: error: lr must be more than 0, and this is inf"},
    {"train { min_lr 1.5 }", "16: error: min_lr must be at least 0 and at most 1, and this is 1.5"},
    {"train { optimizer adamw(1.0) }", "25: error: beta1 must be at least 0 and less than 1, and this is 1"},
    {"train { steps 5 warmup 6 }", "24: error: warmup is 6, and there are only 5 steps"},
    {"train { steps 5 decay_steps 6 }", "29: error: decay_steps is 6, and there are only 5 steps"},
    {"train { global_batch 3 }", "22: error: global_batch is 3 sequences; it must be a multiple of the 2 of"},
    {"upcycle mlp { experts 4 top_k 5 }", "31: error: top_k is 5, and there are only 4 experts"},
    {"upcycle mlp { experts 0 top_k 1 }", "23: error: experts must be at least 1 and at most 4096, and this is 0"},
    {"upcycle mlp { experts 4 top_k 2 segments 3 }",
     "42: error: segments must divide experts, and 3 does not divide 4"},
    {"upcycle mlp { experts 6 top_k 2 segments 3 }", "42: error: segments must divide top_k, and 3 does not divide 2"},
    {"upcycle mlp { experts 4 top_k 2 capacity 0.0 }", "42: error: capacity must be more than 0, and this is 0"},
    {"upcycle mlp { experts 4 top_k 2 balance -1.0 }", "41: error: balance must be at least 0, and this is -1"},
    {"upcycle mlp { experts 4 top_k 2 init drop(1.5) }",
     "43: error: ratio must be more than 0 and at most 1, and this"},
    {"upcycle mlp { experts 4 top_k 2 shared 2 }", "40: error: shared must be at least 0 and at most 1, and this is 2"},
    {"upcycle mlp { experts 4 top_k 2 layers 1 .. 1 }", "45: error: the end of the layers must be at least 2, and"},
    {"upcycle mlp { experts 4 top_k 2 layers 0 .. 3 }",
     "40: error: the model calls 'mlp' 2 times, so its layers are 0 to 1"},
    {"upcycle mlp { experts 4 top_k 2 layers every(1, 2) }", "40: error: the model calls 'mlp' 2 times"},
    {"mesh { data 0 }", "13: error: data must be at least 1 and at most 65536, and this is 0"},
    {"mesh { expert 3 } upcycle mlp { experts 4 top_k 2 }", "15: error: 3 ranks cannot share 4 experts equally"},
    {"mesh { data 4 } train { global_batch 4 }", "13: error: 4 ranks cannot share 2 micro-batches of a step equally"},
    {"mesh { context 3 }", "16: error: 3 ranks cannot share 4 tokens of a sequence equally"},
    /* Functions. */
    {"upcycle mpl { experts 4 top_k 2 }", "9: error: the model has no function 'mpl'; did you mean 'mlp'?"},
    {"upcycle ff { experts 4 top_k 2 }", "9: error: the model has no function 'ff'"},
    {"upcycle spare { experts 4 top_k 2 }", "9: error: 'spare' is never called, so there is nothing to upcycle"},
    {"upcycle main { experts 4 top_k 2 }", "9: error: 'main' is the whole model"},
};

static void check_bad(void **state) {
    const LowerOptions options = {.dense = false};
    (void)state;
    for (size_t i = 0; i < sizeof bad_cases / sizeof *bad_cases; i++) {
        char expected[200];
        snprintf(expected, sizeof expected, "m.moe:2:%s", bad_cases[i].expected);
        bool is_good;
        char *text = compile(bad_cases[i].clauses, &options, &is_good);
        expect_text(bad_cases[i].clauses, text, expected);
        assert_false(is_good);
        free(text);
    }
}

/* Mistakes that stand side by side are all found, and cause no others. */
static void check_several(void **state) {
    const LowerOptions options = {.dense = false};
    bool is_good;
    char *text = compile("upcycle mlp { experts x top_k 9999 } export e { a experts b top_k }", &options, &is_good);
    (void)state;
    size_t n = 0;
    for (const char *at = text; (at = strstr(at, "error: ")) != NULL; at++)
        n++;
    if (n != 2)
        fail_msg("expected 2 errors, found:\n%s", text);
    free(text);
}

/* A pattern for nothing is allowed, but hardly meant. */
static void check_pattern_warning(void **state) {
    const LowerOptions options = {.dense = false};
    bool is_good;
    char *text = compile("train { \"lyers.*\" = no_decay }", &options, &is_good);
    (void)state;
    assert_true(is_good);
    expect_text("pattern", text,
                "m.moe:2:9: warning: no weight of the dense model has a name that matches \"lyers.*\"");
    free(text);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(check_good), cmocka_unit_test(check_locations), cmocka_unit_test(check_dense),
        cmocka_unit_test(check_bad),  cmocka_unit_test(check_several),   cmocka_unit_test(check_pattern_warning),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
