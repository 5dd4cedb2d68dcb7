// RUN: %unit %s
/* What upcycling promises: the first forward pass of the experts is the dense one, however they are cut and shared;
   what the losses and the load are; and that what can't become experts is refused. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "passes/passes.h"
#include "tests/support/gradcheck.h"
#include "tests/support/program.h"
#include "tests/support/random.h"

/* ---- Models: an embedding, a residual call of function f, a head ---------------------------------------------- */

typedef struct {
    const char *name;
    const char *weights; /* states of f, below the path "h.0.f" */
    const char *body;    /* from %x to %y, in scope 1, or 2 inside of it */
} Function;

#define ACTIVATION "f32[B=2, T=3, d=4]"
#define HIDDEN "f32[B=2, T=3, ff=12]"
#define W_UP "f32[ff=12, d=4]"
#define W_DOWN "f32[d=4, ff=12]"

static const Function gated = {
    "gated",
    "state \"h.0.f.gate_proj.weight\" weight : " W_UP " {source = \"h.0.f.gate_proj.weight\"}\n"
    "state \"h.0.f.up_proj.weight\" weight : " W_UP " {source = \"h.0.f.up_proj.weight\"}\n"
    "state \"h.0.f.down_proj.weight\" weight : " W_DOWN " {source = \"h.0.f.down_proj.weight\"}\n",
    "  %g = state {name = \"h.0.f.gate_proj.weight\"} : " W_UP " @0:20:3 in 1\n"
    "  %u = state {name = \"h.0.f.up_proj.weight\"} : " W_UP " @0:21:3 in 1\n"
    "  %d = state {name = \"h.0.f.down_proj.weight\"} : " W_DOWN " @0:22:3 in 1\n"
    "  %a = matmul %x, %g {mode = \"nt\"} : " HIDDEN " @0:23:3 in 1\n"
    "  %b = silu %a : " HIDDEN " @0:23:3 in 1\n"
    "  %c = matmul %x, %u {mode = \"nt\"} : " HIDDEN " @0:23:3 in 1\n"
    "  %h = mul %b, %c : " HIDDEN " @0:23:3 in 1\n"
    "  %y = matmul %h, %d {mode = \"nt\"} : " ACTIVATION " @0:24:3 in 1\n",
};

/* GPT-2: weights [in, out], biases. */
static const Function biased = {
    "biased",
    "state \"h.0.f.fc.weight\" weight : " W_DOWN " {source = \"h.0.f.fc.weight\"}\n"
    "state \"h.0.f.fc.bias\" weight : f32[ff=12] {source = \"h.0.f.fc.bias\"}\n"
    "state \"h.0.f.proj.weight\" weight : " W_UP " {source = \"h.0.f.proj.weight\"}\n"
    "state \"h.0.f.proj.bias\" weight : f32[d=4] {source = \"h.0.f.proj.bias\"}\n",
    "  %w = state {name = \"h.0.f.fc.weight\"} : " W_DOWN " @0:20:3 in 1\n"
    "  %wb = state {name = \"h.0.f.fc.bias\"} : f32[ff=12] @0:20:3 in 1\n"
    "  %v = state {name = \"h.0.f.proj.weight\"} : " W_UP " @0:20:3 in 1\n"
    "  %vb = state {name = \"h.0.f.proj.bias\"} : f32[d=4] @0:20:3 in 1\n"
    "  %a = matmul %x, %w {mode = \"nn\"} : " HIDDEN " @0:23:3 in 1\n"
    "  %a1 = broadcast %wb {dims = [2]} : " HIDDEN " @0:23:3 in 1\n"
    "  %a2 = add %a, %a1 : " HIDDEN " @0:23:3 in 1\n"
    "  %h = gelu_tanh %a2 : " HIDDEN " @0:23:3 in 1\n"
    "  %b = matmul %h, %v {mode = \"nn\"} : " ACTIVATION " @0:24:3 in 1\n"
    "  %b1 = broadcast %vb {dims = [2]} : " ACTIVATION " @0:24:3 in 1\n"
    "  %y = add %b, %b1 : " ACTIVATION " @0:24:3 in 1\n",
};

/* A norm of a function called inside, transposed weights, numbers, and a hidden dim in heads. */
static const Function normed = {
    "normed",
    "state \"h.0.f.norm.weight\" weight : f32[d=4] {source = \"h.0.f.norm.weight\"}\n"
    "state \"h.0.f.up.weight\" weight : " W_UP " {source = \"h.0.f.up.weight\"}\n"
    "state \"h.0.f.down.weight\" weight : " W_UP " {source = \"h.0.f.down.weight\"}\n",
    "  %n = state {name = \"h.0.f.norm.weight\"} : f32[d=4] @0:20:3 in 2\n"
    "  %w = state {name = \"h.0.f.up.weight\"} : " W_UP " @0:20:3 in 1\n"
    "  %v = state {name = \"h.0.f.down.weight\"} : " W_UP " @0:20:3 in 1\n"
    "  %s = mul %x, %x : " ACTIVATION " @0:21:3 in 2\n"
    "  %s1 = reduce_sum %s {dims = [2]} : f32[B=2, T=3] @0:21:3 in 2\n"
    "  %s2 = constant {value = 0.25} : f32[B=2, T=3] @0:21:3 in 2\n"
    "  %s3 = mul %s1, %s2 : f32[B=2, T=3] @0:21:3 in 2\n"
    "  %s4 = rsqrt %s3 : f32[B=2, T=3] @0:21:3 in 2\n"
    "  %s5 = broadcast %s4 {dims = [0, 1]} : " ACTIVATION " @0:21:3 in 2\n"
    "  %s6 = mul %x, %s5 : " ACTIVATION " @0:21:3 in 2\n"
    "  %one = constant {value = 1.0} : f32[d=4] @0:21:3 in 2\n"
    "  %n1 = add %one, %n : f32[d=4] @0:21:3 in 2\n"
    "  %n2 = broadcast %n1 {dims = [2]} : " ACTIVATION " @0:21:3 in 2\n"
    "  %s7 = mul %s6, %n2 : " ACTIVATION " @0:21:3 in 2\n"
    "  %a = matmul %s7, %w {mode = \"nt\"} : " HIDDEN " @0:23:3 in 1\n"
    "  %r = reshape %a : f32[B=2, T=3, ff=12, 1] @0:23:3 in 1\n"
    "  %t = transpose %r {perm = [0, 1, 3, 2]} : f32[B=2, T=3, 1, ff=12] @0:23:3 in 1\n"
    "  %u = tanh %t : f32[B=2, T=3, 1, ff=12] @0:23:3 in 1\n"
    "  %h = reshape %u : " HIDDEN " @0:23:3 in 1\n"
    "  %vt = transpose %v {perm = [1, 0]} : " W_DOWN " @0:24:3 in 1\n"
    "  %b = matmul %h, %vt {mode = \"nt\"} : " ACTIVATION " @0:24:3 in 1\n"
    "  %y = neg %b : " ACTIVATION " @0:24:3 in 1\n",
};

/* Gate and up in one weight; its halves are the hidden dim. */
static const Function fused = {
    "fused",
    "state \"h.0.f.gate_up.weight\" weight : f32[2*ff=24, d=4] {source = \"h.0.f.gate_up.weight\"}\n"
    "state \"h.0.f.down.weight\" weight : " W_DOWN " {source = \"h.0.f.down.weight\"}\n",
    "  %w = state {name = \"h.0.f.gate_up.weight\"} : f32[2*ff=24, d=4] @0:20:3 in 1\n"
    "  %v = state {name = \"h.0.f.down.weight\"} : " W_DOWN " @0:20:3 in 1\n"
    "  %a = matmul %x, %w {mode = \"nt\"} : f32[B=2, T=3, 2*ff=24] @0:23:3 in 1\n"
    "  %b = slice %a {dim = 2, start = 0} : " HIDDEN " @0:23:3 in 1\n"
    "  %c = slice %a {dim = 2, start = 12} : " HIDDEN " @0:23:3 in 1\n"
    "  %b1 = softmax %b : " HIDDEN " @0:23:3 in 1\n"
    "  %h = mul %b1, %c : " HIDDEN " @0:23:3 in 1\n"
    "  %y = matmul %h, %v {mode = \"nt\"} : " ACTIVATION " @0:24:3 in 1\n",
};

static const char *model_text(Arena *arena, const Function *function, const char *directive) {
    return arena_printf(arena,
                        "file 0 \"m.moe\"\n"
                        "scope 0 \"main\" path \"\" ordinal 0 parent 0 @0:1:1\n"
                        "scope 1 \"f\" path \"h.0.f\" ordinal 0 parent 0 @0:30:1\n"
                        "scope 2 \"norm\" path \"h.0.f.norm\" ordinal 0 parent 1 @0:21:1\n"
                        "directive upcycle \"f\" {%s} @0:40:1\n"
                        "state \"embed\" weight : f32[vocab=8, d=4] {source = \"embed\"}\n"
                        "%s"
                        "graph forward {\n"
                        "  %%tokens = input {name = \"tokens\"} : i32[B=2, T=3]\n"
                        "  %%targets = input {name = \"targets\"} : i32[B=2, T=3]\n"
                        "  %%embed = state {name = \"embed\"} : f32[vocab=8, d=4]\n"
                        "  %%x = gather %%embed, %%tokens : " ACTIVATION "\n"
                        "%s"
                        "  %%z = add %%x, %%y : " ACTIVATION "\n"
                        "  %%logits = matmul %%z, %%embed {mode = \"nt\"} : f32[B=2, T=3, vocab=8]\n"
                        "  %%nlls, %%norms = cross_entropy %%logits, %%targets : f32[B=2, T=3], f32[B=2, T=3]\n"
                        "  %%sum = reduce_sum %%nlls {dims = [0, 1]} : f32[]\n"
                        "  %%sixth = constant {value = 0.16666666666666666} : f32[]\n"
                        "  %%nll = mul %%sum, %%sixth : f32[]\n"
                        "  output \"logits\" = %%logits\n"
                        "  output \"nll\" = %%nll\n"
                        "}\n",
                        directive, function->weights, function->body);
}

enum { N_TOKENS = 6, N_LOGITS = N_TOKENS * 8 };

/* ---- The weight map, as spec/ir.md has it ---------------------------------------------------------------------- */

static double scale_of(const State *state) {
    return attrs_float(&state->attrs, "scale", 1);
}

/* Expert e takes segment e mod G of dim D of the dense tensor. */
static void fill_experts(const State *state, const Tensor *dense, Tensor *experts) {
    int64_t n_segments = attrs_int(&state->attrs, "segments", 1), dim = attrs_int(&state->attrs, "segment_dim", 0);
    int64_t n_experts = attrs_int(&state->attrs, "experts", 0), inner = 1, n = type_n_elements(&experts->type);
    assert_int_equal(experts->type.dims[0].extent, n_experts);
    for (int i = (int)dim; i < dense->type.rank; i++)
        inner *= experts->type.dims[i + 1].extent;
    int64_t n_blocks = n / n_experts / inner;
    for (int64_t i = 0; i < n; i++) {
        int64_t e = i / (inner * n_blocks), block = i / inner % n_blocks;
        experts->data[i] = scale_of(state) * dense->data[(block * n_segments + e % n_segments) * inner + i % inner];
    }
}

/* A weight with no source: rows of one tile are equal. */
static void draw(const State *state, Tensor *tensor) {
    random_fill(tensor, 99, -1, 1);
    int64_t tile = attrs_int(&state->attrs, "tile", 1), n_row = tensor->type.dims[1].extent;
    bool is_zeros = strcmp(attrs_string(&state->attrs, "init", "normal"), "zeros") == 0;
    for (int64_t i = 0; i < type_n_elements(&tensor->type); i++)
        tensor->data[i] = is_zeros ? 0 : tensor->data[i - i / n_row % tile * n_row];
}

static void fill_upcycled(Program *upcycled, Program *dense) {
    for (size_t i = 0; i < upcycled->module->n_states; i++) {
        const State *state = upcycled->module->states[i];
        const char *source = attrs_string(&state->attrs, "source", NULL);
        Tensor *tensor = program_tensor(upcycled, state->name);
        if (!source) {
            draw(state, tensor);
            continue;
        }
        const Tensor *from = program_tensor(dense, source);
        if (attrs_find(&state->attrs, "experts")) {
            fill_experts(state, from, tensor);
            continue;
        }
        for (int64_t j = 0; j < type_n_elements(&tensor->type); j++)
            tensor->data[j] = scale_of(state) * from->data[j];
    }
}

/* ---- Runs ----------------------------------------------------------------------------------------------------- */

/* A model, before the pass and after it, on equal data. */
typedef struct {
    Program dense, upcycled;
} Pair;

static void bind_dense(Program *dense) {
    for (size_t i = 0; i < dense->module->n_states; i++)
        random_fill(program_tensor(dense, dense->module->states[i]->name), 7 * i + 1, -1, 1);
}

static void bind_tokens(Program *program) {
    program_set(program, "tokens", VALUES(3, 1, 4, 0, 5, 7));
    program_set(program, "targets", VALUES(1, 4, 0, 5, 7, 2));
}

static Pair pair_new(const Function *function, const char *directive) {
    Arena *arena = arena_new();
    Pair pair = {program_read(model_text(arena, function, directive)),
                 program_read(model_text(arena, function, directive))};
    PlainReporter reporter;
    plain_reporter_init(&reporter, stderr);
    Module *module = pair.upcycled.module;
    if (!upcycle_run(module, &reporter.base))
        fail_msg("%s with {%s} is refused", function->name, directive);
    const char *broken = module_verify(module);
    if (broken)
        fail_msg("%s with {%s}: %s", function->name, directive, broken);
    pair.upcycled.interpreter = interpreter_new(pair.upcycled.arena, module);
    bind_dense(&pair.dense);
    fill_upcycled(&pair.upcycled, &pair.dense);
    bind_tokens(&pair.dense);
    bind_tokens(&pair.upcycled);
    program_run(&pair.dense, "forward");
    program_run(&pair.upcycled, "forward");
    arena_free(arena);
    return pair;
}

static void pair_free(Pair *pair) {
    program_free(&pair->dense);
    program_free(&pair->upcycled);
}

/* ---- The first forward pass ------------------------------------------------------------------------------------ */

static const char *const exact_settings[] = {
    "experts = 4, top_k = 2",
    "experts = 4, top_k = 1",
    "experts = 3, top_k = 3",
    "experts = 4, top_k = 2, capacity = 2.0",
    "experts = 4, top_k = 2, router_init = \"zeros\"",
    "experts = 4, top_k = 2, router_name = \"router.weight\", balance = 0.01, z_loss = 0.001",
    "experts = 4, top_k = 2, shared = 1",
};

static const char *const exact_segments[] = {
    "experts = 4, top_k = 2, segments = 2",
    "experts = 6, top_k = 3, segments = 3",
    "experts = 8, top_k = 4, segments = 2",
    "experts = 4, top_k = 2, segments = 2, shared = 1, hidden = \"ff\"",
};

static void expect_exact(const Function *function, const char *const *settings, size_t n) {
    for (size_t i = 0; i < n; i++) {
        Pair pair = pair_new(function, settings[i]);
        program_expect(&pair.upcycled, "nll", 1, program_output(&pair.dense, "nll"));
        program_expect(&pair.upcycled, "logits", N_LOGITS, program_output(&pair.dense, "logits"));
        pair_free(&pair);
    }
}

static void check_exact(void **state) {
    expect_exact(*state, exact_settings, sizeof exact_settings / sizeof *exact_settings);
}

static void check_exact_segments(void **state) {
    expect_exact(*state, exact_segments, sizeof exact_segments / sizeof *exact_segments);
}

static void expect_inexact(const char *directive) {
    Pair pair = pair_new(&gated, directive);
    double difference = fabs(*program_output(&pair.dense, "nll") - *program_output(&pair.upcycled, "nll"));
    assert_true(difference > 1e-6);
    pair_free(&pair);
}

static void softmax_first_and_drops_change_the_first_pass(void **state) {
    (void)state;
    expect_inexact("experts = 4, top_k = 2, router = \"softmax_then_topk\"");
    expect_inexact("experts = 4, top_k = 2, capacity = 0.5");
}

/* ---- Losses, load ---------------------------------------------------------------------------------------------- */

static void balance_is_one_under_uniform_routing(void **state) {
    (void)state;
    Pair pair = pair_new(&gated, "experts = 4, top_k = 2, router_init = \"zeros\"");
    double z = log(4) * log(4);
    program_expect(&pair.upcycled, "balance", VALUES(1));
    program_expect(&pair.upcycled, "z_loss", 1, &z);
    program_expect(&pair.upcycled, "expert_load", VALUES(6, 6, 0, 0));
    program_expect(&pair.upcycled, "loss", 1, program_output(&pair.dense, "nll"));
    pair_free(&pair);
}

/* Dropped slots count too. */
static void load_adds_up_to_all_slots(void **state) {
    (void)state;
    Pair pair = pair_new(&gated, "experts = 4, top_k = 2, capacity = 0.5");
    const double *load = program_output(&pair.upcycled, "expert_load");
    assert_true(load[0] + load[1] + load[2] + load[3] == 2 * N_TOKENS);
    pair_free(&pair);
}

static void loss_adds_what_the_coefficients_ask_for(void **state) {
    (void)state;
    Pair pair = pair_new(&gated, "experts = 4, top_k = 2, balance = 0.5, z_loss = 0.25");
    double loss = *program_output(&pair.upcycled, "nll") + 0.5 * *program_output(&pair.upcycled, "balance") +
                  0.25 * *program_output(&pair.upcycled, "z_loss");
    program_expect(&pair.upcycled, "loss", 1, &loss);
    pair_free(&pair);
}

static void gradients_are_those_of_the_loss(void **state) {
    const Function *function = *state;
    Pair pair = pair_new(function, "experts = 4, top_k = 2, segments = 2, shared = 1, balance = 0.5, z_loss = 0.25");
    Module *module = pair.upcycled.module;
    PlainReporter reporter;
    plain_reporter_init(&reporter, stderr);
    /* Equal logits tie: a small step of the router would choose others. */
    Tensor router = *program_tensor(&pair.upcycled, "h.0.f.gate.weight");
    random_fill_separated(&router, 5, -1, 1);
    graph_clone(module_find_graph(module, "forward"), "kept");
    assert_true(autodiff_run(module, &reporter.base));
    Interpreter *interpreter = interpreter_new(pair.upcycled.arena, module);
    for (size_t i = 0; i < module->n_states; i++) {
        if (strcmp(module->states[i]->kind, "weight") == 0)
            interpreter_set_state(interpreter, module->states[i]->name,
                                  *program_tensor(&pair.upcycled, module->states[i]->name));
    }
    interpreter_set_state(interpreter, "h.0.f.gate.weight", router);
    pair.upcycled.interpreter = interpreter;
    bind_tokens(&pair.upcycled);
    program_set(&pair.upcycled, "loss_scale", VALUES(1));
    const char *error = gradcheck(pair.upcycled.arena, module, interpreter, &(Gradcheck){.forward = "kept"});
    if (error)
        fail_msg("%s", error);
    pair_free(&pair);
}

/* ---- Modules without an upcycle clause, and twice ------------------------------------------------------------- */

static void without_a_clause_the_loss_is_nll(void **state) {
    (void)state;
    Arena *arena = arena_new();
    Program program = program_read(model_text(arena, &gated, "experts = 4, top_k = 2"));
    PlainReporter reporter;
    plain_reporter_init(&reporter, stderr);
    program.module->n_directives = 0;
    assert_true(upcycle_run(program.module, &reporter.base));
    const Graph *forward = module_find_graph(program.module, "forward");
    assert_ptr_equal(graph_find_output(forward, "loss"), graph_find_output(forward, "nll"));
    assert_null(graph_find_output(forward, "balance"));
    assert_int_equal(program.module->n_states, 4);
    program_free(&program);
    arena_free(arena);
}

static void what_is_upcycled_stays(void **state) {
    (void)state;
    Pair pair = pair_new(&gated, "experts = 4, top_k = 2");
    PlainReporter reporter;
    plain_reporter_init(&reporter, stderr);
    size_t n_nodes = module_find_graph(pair.upcycled.module, "forward")->n_nodes;
    assert_true(upcycle_run(pair.upcycled.module, &reporter.base));
    assert_int_equal(module_find_graph(pair.upcycled.module, "forward")->n_nodes, n_nodes);
    assert_int_equal(pair.upcycled.module->n_states, 5);
    pair_free(&pair);
}

/* ---- Refusals -------------------------------------------------------------------------------------------------- */

/* All that the pass reports on a model it must refuse. */
static char *refusal(Arena *arena, const Function *function, const char *directive) {
    char *text = NULL;
    size_t n_bytes;
    FILE *out = open_memstream(&text, &n_bytes);
    PlainReporter reporter;
    plain_reporter_init(&reporter, out);
    Program program = program_read(model_text(arena, function, directive));
    bool is_accepted = upcycle_run(program.module, &reporter.base);
    fclose(out);
    char *copy = arena_strdup(arena, text);
    free(text);
    program_free(&program);
    if (is_accepted || reporter.base.n_errors != 1)
        fail_msg("{%s} should give one error, and gives %d: %s", directive, reporter.base.n_errors, copy);
    return copy;
}

typedef struct {
    const char *directive;
    const char *expected; /* occurs in what is reported */
} BadSettings;

static const BadSettings bad_settings[] = {
    {"top_k = 2", "m.moe:40:1: error: upcycle: experts is missing"},
    {"experts = 4", "top_k is missing"},
    {"experts = 4.0, top_k = 2", "experts must be an integer, and is a number"},
    {"experts = 0, top_k = 0", "experts is 0; it must be at least 1"},
    {"experts = 4, top_k = 5", "top_k is 5; it must be from 1 to the 4 experts"},
    {"experts = 4, top_k = 2, flavour = 1", "there is no setting 'flavour'"},
    {"experts = 4, top_k = 2, router = \"hash\"", "it can be \"topk_then_softmax\" or \"softmax_then_topk\""},
    {"experts = 4, top_k = 2, router_init = \"ones\"", "it can be \"normal\" or \"zeros\""},
    {"experts = 4, top_k = 2, router_name = \"\"", "router_name is empty"},
    {"experts = 4, top_k = 2, router_name = \"up_proj.weight\"",
     "a new weight would be called \"h.0.f.up_proj.weight\""},
    {"experts = 4, top_k = 2, capacity = -1.0", "capacity is -1; it must be at least 0"},
    {"experts = 4, top_k = 2, balance = inf", "balance is inf; it must be at least 0"},
    {"experts = 4, top_k = 2, init = \"drop\", drop = 1.5", "drop is 1.5; it must be from 0 to 1"},
    {"experts = 4, top_k = 2, init = \"zeros\"", "it can be \"replicate\", \"noise\" or \"drop\""},
    {"experts = 4, top_k = 2, shared = 2", "shared is 2; it can be 0 or 1"},
    {"experts = 4, top_k = 2, segments = 0", "segments is 0; it must be at least 1"},
    {"experts = 4, top_k = 3, segments = 2", "must be multiples of segments (2)"},
    {"experts = 10, top_k = 5, segments = 5", "the hidden dim ff=12 is not a multiple of segments (5)"},
    {"experts = 4, top_k = 2, segments = 2, hidden = \"d\"", "that its input f32[B=2, T=3, d=4] lacks: ff=12"},
    {"experts = 4, top_k = 2, layers = [0, 2]", "layers must be [FIRST, END, STEP]"},
    {"experts = 4, top_k = 2, layers = [1, -1, 1]", "layers chooses none of the 1 calls of 'f'"},
};

static void wrong_settings_are_refused(void **state) {
    (void)state;
    Arena *arena = arena_new();
    for (size_t i = 0; i < sizeof bad_settings / sizeof *bad_settings; i++) {
        const char *text = refusal(arena, &gated, bad_settings[i].directive);
        if (!strstr(text, bad_settings[i].expected))
            fail_msg("{%s}: no \"%s\" in: %s", bad_settings[i].directive, bad_settings[i].expected, text);
    }
    arena_free(arena);
}

typedef struct {
    Function function;
    const char *settings; /* beside experts and top_k */
    const char *expected;
} BadFunction;

#define W_SQUARE                                                                                                       \
    "state \"h.0.f.w\" weight : f32[d=4, d=4]\n", "  %w = state {name = \"h.0.f.w\"} : f32[d=4, d=4] @0:20:3 in 1\n"
#define LINEAR(to) "  %" to " = matmul %x, %w {mode = \"nt\"} : " ACTIVATION " @0:21:3 in 1\n"
#define W_PAIR                                                                                                         \
    "state \"h.0.f.w\" weight : " W_UP "\nstate \"h.0.f.v\" weight : " W_DOWN "\n",                                    \
        "  %w = state {name = \"h.0.f.w\"} : " W_UP " @0:20:3 in 1\n"                                                  \
        "  %v = state {name = \"h.0.f.v\"} : " W_DOWN " @0:20:3 in 1\n"                                                \
        "  %a = matmul %x, %w {mode = \"nt\"} : " HIDDEN " @0:21:3 in 1\n"

static const BadFunction bad_functions[] = {
    {{"sums over tokens", W_SQUARE LINEAR("a") "  %b = reduce_sum %a {dims = [1]} : f32[B=2, d=4] @0:22:3 in 1\n"
                                               "  %y = broadcast %b {dims = [0, 2]} : " ACTIVATION " @0:22:3 in 1\n"},
     "",
     "m.moe:22:3: error: 'f' can't become experts: reduce_sum sums over rows"},
    {{"softmax over tokens",
      W_SQUARE LINEAR("a") "  %b = transpose %a {perm = [0, 2, 1]} : f32[B=2, d=4, T=3] @0:22:3 in 1\n"
                           "  %c = softmax %b : f32[B=2, d=4, T=3] @0:23:3 in 1\n"
                           "  %y = transpose %c {perm = [0, 2, 1]} : " ACTIVATION " @0:24:3 in 1\n"},
     "",
     "m.moe:22:3: error: 'f' can't become experts: transpose moves rows"},
    {{"reshape of tokens", W_SQUARE LINEAR("a") "  %b = reshape %a : f32[6, d=4] @0:22:3 in 1\n"
                                                "  %y = reshape %b : " ACTIVATION " @0:23:3 in 1\n"},
     "",
     "m.moe:22:3: error: 'f' can't become experts: reshape does not leave the dims of rows as they are"},
    {{"slice of tokens", W_SQUARE LINEAR("a") "  %b = slice %a {dim = 1, start = 0} : f32[B=2, 2, d=4] @0:22:3 in 1\n"
                                              "  %c = slice %a {dim = 1, start = 0} : f32[B=2, 1, d=4] @0:22:3 in 1\n"
                                              "  %y = concat %b, %c {dim = 1} : " ACTIVATION " @0:23:3 in 1\n"},
     "",
     "m.moe:22:3: error: 'f' can't become experts: slice leaves out rows"},
    {{"attention",
      W_SQUARE LINEAR("a") "  %b = reshape %a : f32[B=2, T=3, 1, d=4] @0:22:3 in 1\n"
                           "  %c, %l = attention %b, %b, %b {scale = 1.0} : f32[B=2, T=3, 1, d=4], f32[B=2, 1, T=3] "
                           "@0:23:3 in 1\n"
                           "  %y = reshape %c : " ACTIVATION " @0:24:3 in 1\n"},
     "",
     "m.moe:23:3: error: 'f' can't become experts: attention mixes rows"},
    {{"a second input", W_SQUARE "  %e = gather %embed, %targets : " ACTIVATION
                                 " @0:21:1 in 0\n" LINEAR("a") "  %y = add %a, %e : " ACTIVATION " @0:22:3 in 1\n"},
     "",
     "reads a second input, of type f32[B=2, T=3, d=4]"},
    {{"two results", W_SQUARE LINEAR("a") "  %b = silu %a : " ACTIVATION " @0:22:3 in 1\n"
                                          "  %y = add %a, %b : " ACTIVATION " @0:23:3 in 0\n"},
     "",
     "it has more than one result"},
    {{"no weight", "", "  %y = silu %x : " ACTIVATION " @0:22:3 in 1\n"},
     "",
     "m.moe:30:1: error: 'f' can't become "
     "experts: it has no weights"},
    {{"nothing of the input", "state \"h.0.f.w\" weight : f32[d=4]\n",
      "  %w = state {name = \"h.0.f.w\"} : f32[d=4] @0:20:3 in 1\n"
      "  %y = broadcast %w {dims = [2]} : " ACTIVATION " @0:21:3 in 1\n"},
     "",
     "its result does not depend on its input"},
    {{"a weight of others", "",
      "  %a = matmul %x, %embed {mode = \"nt\"} : f32[B=2, T=3, vocab=8] @0:21:3 in 1\n"
      "  %y = matmul %a, %embed {mode = \"nn\"} : " ACTIVATION " @0:22:3 in 1\n"},
     "",
     "its weight \"embed\" is also used here"},
    {{"a weight for each position", "state \"h.0.f.w\" weight : f32[T=3, d=4]\n",
      "  %w = state {name = \"h.0.f.w\"} : f32[T=3, d=4] @0:20:3 in 1\n"
      "  %a = broadcast %w {dims = [1, 2]} : " ACTIVATION " @0:21:3 in 1\n"
      "  %y = add %x, %a : " ACTIVATION " @0:22:3 in 1\n"},
     "",
     "m.moe:22:3: error: 'f' can't become experts: add joins a weight with rows"},
    {{"products of weights", W_SQUARE "  %ww = matmul %w, %w {mode = \"nt\"} : f32[d=4, d=4] @0:21:3 in 1\n"
                                      "  %y = matmul %x, %ww {mode = \"nt\"} : " ACTIVATION " @0:22:3 in 1\n"},
     "",
     "matmul multiplies weights with each other"},
    {{"products of rows", W_SQUARE LINEAR("a") "  %b = matmul %x, %a {mode = \"tn\"} : f32[d=4, d=4] @0:22:3 in 1\n"
                                               "  %y = matmul %x, %b {mode = \"nt\"} : " ACTIVATION " @0:23:3 in 1\n"},
     "",
     "m.moe:22:3: error: 'f' can't become experts: matmul has a second operand that is no weight"},

    {{"two hidden dims",
      "state \"h.0.f.w\" weight : " W_UP "\nstate \"h.0.f.v\" weight : f32[e=5, ff=12]\n"
      "state \"h.0.f.u\" weight : f32[d=4, e=5]\n",
      "  %w = state {name = \"h.0.f.w\"} : " W_UP " @0:20:3 in 1\n"
      "  %v = state {name = \"h.0.f.v\"} : f32[e=5, ff=12] @0:20:3 in 1\n"
      "  %u = state {name = \"h.0.f.u\"} : f32[d=4, e=5] @0:20:3 in 1\n"
      "  %a = matmul %x, %w {mode = \"nt\"} : " HIDDEN " @0:21:3 in 1\n"
      "  %b = matmul %a, %v {mode = \"nt\"} : f32[B=2, T=3, e=5] @0:22:3 in 1\n"
      "  %y = matmul %b, %u {mode = \"nt\"} : " ACTIVATION " @0:23:3 in 1\n"},
     ", segments = 2",
     "dims of its weights that its input f32[B=2, T=3, d=4] lacks: ff=12, e=5; name it with `hidden`"},
    {{"softmax along the hidden dim", W_PAIR "  %h = softmax %a : " HIDDEN " @0:22:3 in 1\n"
                                             "  %y = matmul %h, %v {mode = \"nt\"} : " ACTIVATION " @0:23:3 in 1\n"},
     ", segments = 2",
     "m.moe:22:3: error: 'f' can't become experts: segments cut the hidden dim ff=12, and softmax works along all of "
     "it"},
    {{"a sum of squares of the hidden dim",
      W_PAIR "  %s = sum_squares %a : f32[] @0:22:3 in 1\n"
             "  %b = matmul %a, %v {mode = \"nt\"} : " ACTIVATION " @0:23:3 in 1\n"
             "  %c = broadcast %s {dims = []} : " ACTIVATION " @0:24:3 in 1\n"
             "  %y = mul %b, %c : " ACTIVATION " @0:24:3 in 1\n"},
     ", segments = 2",
     "m.moe:22:3: error: 'f' can't become experts: segments cut the hidden dim ff=12, and sum_squares can't be cut"},
    {{"a function behind the last product",
      W_PAIR "  %b = matmul %a, %v {mode = \"nt\"} : " ACTIVATION " @0:22:3 in 1\n"
             "  %y = tanh %b : " ACTIVATION " @0:23:3 in 1\n"},
     ", segments = 2",
     "m.moe:23:3: error: 'f' can't become experts: a segment's share of the sum over the hidden dim ff=12 meets tanh, "
     "which is not linear"},
    {{"one weight for both products", W_PAIR "  %vt = transpose %w {perm = [1, 0]} : " W_DOWN " @0:22:3 in 1\n"
                                             "  %b = matmul %a, %vt {mode = \"nt\"} : " ACTIVATION " @0:23:3 in 1\n"
                                             "  %c = matmul %a, %v {mode = \"nt\"} : " ACTIVATION " @0:23:3 in 1\n"
                                             "  %y = add %b, %c : " ACTIVATION " @0:24:3 in 1\n"},
     ", segments = 2",
     "m.moe:21:3: error: 'f' can't become experts: segments scale weight \"h.0.f.w\""},
    {{"half of a function", W_SQUARE LINEAR("a") "  %y = tanh %a : " ACTIVATION " @0:23:3 in 1\n"},
     ", shared = 1",
     "m.moe:23:3: error: 'f' can't become experts: a shared expert takes half of the result"},
    {{"half of a residual", W_SQUARE LINEAR("a") "  %y = add %a, %x : " ACTIVATION " @0:23:3 in 1\n"},
     ", shared = 1",
     "add leaves no way to do so"},
    {{"half of a square", W_SQUARE LINEAR("a") "  %y = mul %a, %a : " ACTIVATION " @0:23:3 in 1\n"},
     ", shared = 1",
     "mul leaves no way to do so"},
};

static void check_refused(void **state) {
    const BadFunction *bad = *state;
    Arena *arena = arena_new();
    const char *directive = arena_printf(arena, "experts = 4, top_k = 2%s", bad->settings);
    const char *text = refusal(arena, &bad->function, directive);
    if (!strstr(text, bad->expected))
        fail_msg("no \"%s\" in: %s", bad->expected, text);
    bool is_refused_function = strstr(text, "can't become experts") != NULL;
    assert_true(!is_refused_function || strstr(text, "m.moe:40:1: note: upcycle makes experts of"));
    arena_free(arena);
}

static void what_no_call_reaches_is_refused(void **state) {
    (void)state;
    Arena *arena = arena_new();
    static const Function unused = {"unused", "", "  %y = silu %x : " ACTIVATION "\n"};
    assert_non_null(
        strstr(refusal(arena, &unused, "experts = 4, top_k = 2"), "no call computes anything that is used"));
    arena_free(arena);
}

/* 2^40 rows of 2^7 elements fit; four times as many routed rows do not. */
static void rows_beyond_all_bounds_are_refused(void **state) {
    (void)state;
    Program program = program_read("scope 0 \"main\" path \"\" ordinal 0 parent 0\n"
                                   "scope 1 \"f\" path \"f\" ordinal 0 parent 0\n"
                                   "directive upcycle \"f\" {experts = 4, top_k = 4}\n"
                                   "state \"f.w\" weight : f32[128, 128]\n"
                                   "graph forward {\n"
                                   "  %x = input {name = \"x\"} : f32[1048576, 1048576, 128]\n"
                                   "  %w = state {name = \"f.w\"} : f32[128, 128] in 1\n"
                                   "  %y = matmul %x, %w {mode = \"nt\"} : f32[1048576, 1048576, 128] in 1\n"
                                   "  %nll = reduce_sum %y {dims = [0, 1, 2]} : f32[]\n"
                                   "  output \"nll\" = %nll\n"
                                   "}\n");
    char *text;
    size_t n_bytes;
    FILE *out = open_memstream(&text, &n_bytes);
    PlainReporter reporter;
    plain_reporter_init(&reporter, out);
    assert_false(upcycle_run(program.module, &reporter.base));
    fclose(out);
    assert_non_null(strstr(text, "routing 1099511627776 rows would need a tensor that has more than 2^48 elements"));
    free(text);
    program_free(&program);
}

/* ---- The tests -------------------------------------------------------------------------------------------------- */

enum { N_BAD_FUNCTIONS = sizeof bad_functions / sizeof *bad_functions };

static struct CMUnitTest test_of(const char *name, CMUnitTestFunction run, const void *initial) {
    return (struct CMUnitTest){name, run, NULL, NULL, (void *)(uintptr_t)initial};
}

int main(void) {
    const struct CMUnitTest fixed[] = {
        test_of("gated: the first pass is the dense one", check_exact, &gated),
        test_of("biased: the first pass is the dense one", check_exact, &biased),
        test_of("normed: the first pass is the dense one", check_exact, &normed),
        test_of("fused: the first pass is the dense one", check_exact, &fused),
        test_of("gated: segments, the same", check_exact_segments, &gated),
        test_of("biased: segments, the same", check_exact_segments, &biased),
        test_of("normed: segments, the same", check_exact_segments, &normed),
        test_of("gated: gradients", gradients_are_those_of_the_loss, &gated),
        test_of("biased: gradients", gradients_are_those_of_the_loss, &biased),
        test_of("normed: gradients", gradients_are_those_of_the_loss, &normed),
        cmocka_unit_test(softmax_first_and_drops_change_the_first_pass),
        cmocka_unit_test(balance_is_one_under_uniform_routing),
        cmocka_unit_test(load_adds_up_to_all_slots),
        cmocka_unit_test(loss_adds_what_the_coefficients_ask_for),
        cmocka_unit_test(without_a_clause_the_loss_is_nll),
        cmocka_unit_test(what_is_upcycled_stays),
        cmocka_unit_test(wrong_settings_are_refused),
        cmocka_unit_test(what_no_call_reaches_is_refused),
        cmocka_unit_test(rows_beyond_all_bounds_are_refused),
    };
    enum { N_FIXED = sizeof fixed / sizeof *fixed };
    struct CMUnitTest tests[N_FIXED + N_BAD_FUNCTIONS];
    memcpy(tests, fixed, sizeof fixed);
    for (size_t i = 0; i < N_BAD_FUNCTIONS; i++)
        tests[N_FIXED + i] = test_of(bad_functions[i].function.name, check_refused, &bad_functions[i]);
    return _cmocka_run_group_tests("upcycle", tests, N_FIXED + N_BAD_FUNCTIONS, NULL, NULL);
}
