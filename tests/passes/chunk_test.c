// RUN: %unit %s
/* Chunks of rows change no value, and where they can be made no large value is left whole. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "passes/passes.h"
#include "tests/support/program.h"
#include "tests/support/random.h"
#include "tests/support/stages.h"

enum { N_PROGRAMS = 80, N_STEPS = 12 };

/* Runs the pass with chunks of `rows` rows where values have more than `bytes`. */
static void run_chunk(Module *module, int64_t bytes, int64_t rows) {
    Directive *directive = module_add_directive(module, "chunk", "", (Loc){0});
    attrs_set_int(module->arena, &directive->attrs, "bytes", bytes);
    attrs_set_int(module->arena, &directive->attrs, "rows", rows);
    run_pass(module, "chunk");
}

static size_t count_nodes(const Module *module, OpKind op) {
    size_t n = 0;
    for (size_t i = 0; i < module->n_graphs; i++) {
        for (const Node *node = module->graphs[i]->first; node; node = node->next)
            n += node->op == op;
    }
    return n;
}

/* ---- Random programs -------------------------------------------------------------------------------------------- */

static void check_random_programs(const char *before) {
    size_t n_chunked = 0;
    for (uint64_t seed = 0; seed < N_PROGRAMS; seed++) {
        Arena *arena = arena_new();
        uint64_t data_seed;
        const Module *expected = random_stage(arena, seed, N_STEPS, before, &data_seed);
        Module *module = random_stage(arena, seed, N_STEPS, before, &data_seed);
        run_chunk(module, 1 + (int64_t)(seed % 7) * 40, 1 + (int64_t)(seed % 3));
        expect_same_values(expected, module, data_seed, 1e-11);
        n_chunked += count_nodes(module, OP_slice) > count_nodes(expected, OP_slice);
        arena_free(arena);
    }
    assert_true(n_chunked > N_PROGRAMS / 2); /* the others have no value so much larger than what is around it */
}

static void random_programs_stay_the_same(void **state) {
    (void)state;
    check_random_programs("simplify");
}

static void unsimplified_programs_stay_the_same(void **state) {
    (void)state;
    check_random_programs("optimizer");
}

static void what_follows_takes_the_chunks(void **state) {
    (void)state;
    for (uint64_t seed = 0; seed < N_PROGRAMS / 2; seed++) {
        Arena *arena = arena_new();
        uint64_t data_seed;
        Module *expected = random_stage(arena, seed, N_STEPS, "simplify", &data_seed);
        Module *module = random_stage(arena, seed, N_STEPS, "simplify", &data_seed);
        run_pass(expected, "gradients"); /* which decides what "update" leaves in them */
        run_chunk(module, 1, 2);
        for (const Pass *pass = pass_find("chunk") + 1; pass->name; pass++)
            run_pass(module, pass->name);
        expect_same_values(expected, module, data_seed, 1e-11);
        arena_free(arena);
    }
}

/* ---- Random reads and writes of states around wide values ---------------------------------------------------------
 */

/* Narrow values f32[8, 2], wide ones f32[8, 16], states f32[16, 2]; each step makes or reads some of them, so that a
   wide value is read much later than it is made, with updates of the states that are behind it in between. */
enum { N_STATES = 3, N_MOST = 64 };

typedef struct {
    uint64_t random;
    Builder builder;
    const State *states[N_STATES];
    Value *narrow[N_MOST], *wide[N_MOST];
    size_t n_narrow, n_wide;
} Generator;

static size_t below(Generator *at, size_t n) {
    return (size_t)(random_uniform(&at->random) * (double)n);
}

static Value *read_state(Generator *at) {
    return build_state(&at->builder, at->states[below(at, N_STATES)]);
}

static Value *pick_narrow(Generator *at) {
    return at->narrow[below(at, at->n_narrow)];
}

static Value *pick_wide(Generator *at) {
    return at->wide[below(at, at->n_wide)];
}

static void random_state_step(Generator *at) {
    Builder *builder = &at->builder;
    if (at->n_wide == 0 || below(at, 4) == 0) {
        Value *product = build_matmul(builder, "nt", pick_narrow(at), read_state(at));
        at->wide[at->n_wide++] = build_unary(builder, OP_tanh, product);
        return;
    }
    switch (below(at, 4)) {
    case 0:
        at->wide[at->n_wide++] = build_binary(builder, OP_mul, pick_wide(at), pick_wide(at));
        return;
    case 1:
        at->narrow[at->n_narrow++] = build_matmul(builder, "nn", pick_wide(at), read_state(at));
        return;
    case 2:
        build_binary(builder, OP_accumulate, read_state(at),
                     build_matmul(builder, "tn", pick_wide(at), pick_narrow(at)));
        return;
    default:
        at->narrow[at->n_narrow++] = build_unary(builder, OP_tanh, pick_narrow(at));
        return;
    }
}

static Module *random_wide_program(Arena *arena, uint64_t seed) {
    Generator at = {.random = seed};
    Module *module = module_new(arena, "wide");
    at.builder.graph = module_add_graph(module, "main");
    const Type narrow = {DTYPE_F32, 2, {{.extent = 8}, {.extent = 2}}};
    const Type state = {DTYPE_F32, 2, {{.extent = 16}, {.extent = 2}}};
    for (int i = 0; i < N_STATES; i++)
        at.states[i] = module_add_state(module, arena_printf(arena, "s%d", i), "weight", &state, (Loc){0});
    at.narrow[at.n_narrow++] = build_input(&at.builder, "x", &narrow);
    for (int i = 0; i < 24; i++)
        random_state_step(&at);
    for (size_t i = 1; i < at.n_narrow; i++)
        graph_add_output(at.builder.graph, arena_printf(arena, "y%zu", i), at.narrow[i]);
    assert_null(module_verify(module));
    return module;
}

static void reads_and_writes_of_states_keep_their_order(void **state) {
    (void)state;
    size_t n_chunked = 0;
    for (uint64_t seed = 0; seed < 10 * N_PROGRAMS; seed++) {
        Arena *arena = arena_new();
        const Module *expected = random_wide_program(arena, seed);
        Module *module = random_wide_program(arena, seed);
        run_chunk(module, 1, 1 + (int64_t)(seed % 4));
        expect_same_values(expected, module, seed, 1e-11);
        n_chunked += count_nodes(module, OP_slice) > 0;
        arena_free(arena);
    }
    assert_true(n_chunked > 2 * N_PROGRAMS);
}

/* ---- Losses over a vocabulary ----------------------------------------------------------------------------------- */

enum { VOCAB = 50, ROWS = 14 }; /* rows: B = 2, T = 7 */

/* A tied embedding, and `loss`, which makes %total of %hidden f32[2, 7, 3], %table, %targets and %one f32[]. */
static Program read_loss(const char *loss) {
    Arena *arena = arena_new();
    Program program = program_read(arena_printf(arena,
                                                "state \"table\" weight : f32[vocab=50, d=3]\n"
                                                "graph forward {\n"
                                                "  %%tokens = input {name = \"tokens\"} : i32[B=2, T=7]\n"
                                                "  %%targets = input {name = \"targets\"} : i32[B=2, T=7]\n"
                                                "  %%table = state {name = \"table\"} : f32[vocab=50, d=3]\n"
                                                "  %%x = gather %%table, %%tokens : f32[B=2, T=7, d=3]\n"
                                                "  %%hidden = tanh %%x : f32[B=2, T=7, d=3]\n"
                                                "%s"
                                                "  output \"loss\" = %%total\n"
                                                "  output \"nll\" = %%total\n"
                                                "}\n",
                                                loss));
    arena_free(arena);
    for (const Pass *pass = pass_find("autodiff"); strcmp(pass->name, "chunk") != 0; pass++)
        run_pass(program.module, pass->name);
    return program;
}

/* Values with all rows of the vocabulary, in graphs train and eval. */
static size_t count_whole(const Module *module) {
    size_t n = 0;
    for (size_t i = 0; i < module->n_graphs; i++) {
        for (const Node *node = module->graphs[i]->first; node; node = node->next) {
            for (int j = 0; j < node->n_results; j++)
                n += type_n_elements(&node->results[j].type) >= (int64_t)VOCAB * ROWS;
        }
    }
    return n;
}

/* Whether chunks of 4 rows leave nothing whole; values stay the same either way. */
static bool splits(const char *loss) {
    Program expected = read_loss(loss), program = read_loss(loss);
    assert_true(count_whole(program.module) > 0);
    run_chunk(program.module, 4 * VOCAB * (int64_t)sizeof(float), 1);
    expect_same_values(expected.module, program.module, 7, 1e-11);
    bool is_split = count_whole(program.module) == 0;
    program_free(&expected);
    program_free(&program);
    return is_split;
}

#define CROSS_ENTROPY                                                                                                  \
    "  %logits = matmul %hidden, %table {mode = \"nt\"} : f32[B=2, T=7, vocab=50]\n"                                   \
    "  %nll, %lse = cross_entropy %logits, %targets : f32[B=2, T=7], f32[B=2, T=7]\n"

static void logits_of_a_tied_embedding_are_never_whole(void **state) {
    (void)state;
    assert_true(splits(CROSS_ENTROPY "  %total = reduce_sum %nll {dims = [0, 1]} : f32[]\n"));
}

/* Rows in 4, 4, 4 and 2: train and eval each. */
static void the_last_chunk_has_what_is_left(void **state) {
    (void)state;
    Program program = read_loss(CROSS_ENTROPY "  %total = reduce_sum %nll {dims = [0, 1]} : f32[]\n");
    run_chunk(program.module, 4 * VOCAB * (int64_t)sizeof(float), 1);
    size_t n_of_extent[ROWS + 1] = {0};
    for (const Node *node = module_find_graph(program.module, "train")->first; node; node = node->next) {
        if (node->op == OP_cross_entropy)
            n_of_extent[node->results[0].type.dims[0].extent]++;
    }
    assert_int_equal(n_of_extent[4], 3);
    assert_int_equal(n_of_extent[2], 1);
    assert_int_equal(count_nodes(program.module, OP_cross_entropy), 8);
    program_free(&program);
}

/* tanh and a bias between the product and the loss. */
static void maps_of_logits_are_split_too(void **state) {
    (void)state;
    assert_true(splits("  %raw = matmul %hidden, %table {mode = \"nt\"} : f32[B=2, T=7, vocab=50]\n"
                       "  %bias = reduce_sum %table {dims = [1]} : f32[vocab=50]\n"
                       "  %biases = broadcast %bias {dims = [2]} : f32[B=2, T=7, vocab=50]\n"
                       "  %sum = add %raw, %biases : f32[B=2, T=7, vocab=50]\n"
                       "  %logits = tanh %sum : f32[B=2, T=7, vocab=50]\n"
                       "  %nll, %lse = cross_entropy %logits, %targets : f32[B=2, T=7], f32[B=2, T=7]\n"
                       "  %total = reduce_sum %nll {dims = [0, 1]} : f32[]\n"));
}

/* The gradient of lse * lse is of lse, which is small: it is made again in each chunk all the same. */
static void small_values_between_large_ones_are_split_too(void **state) {
    (void)state;
    assert_true(splits(CROSS_ENTROPY "  %z = logsumexp %logits : f32[B=2, T=7]\n"
                                     "  %square = mul %z, %z : f32[B=2, T=7]\n"
                                     "  %sum = add %nll, %square : f32[B=2, T=7]\n"
                                     "  %total = reduce_sum %sum {dims = [0, 1]} : f32[]\n"));
}

/* The gradient of each row waits for the loss of all: forward and backward can't run together. */
static void a_gradient_that_needs_all_rows_keeps_logits_whole(void **state) {
    (void)state;
    assert_false(splits(CROSS_ENTROPY "  %sum = reduce_sum %nll {dims = [0, 1]} : f32[]\n"
                                      "  %total = mul %sum, %sum : f32[]\n"));
}

static void rows_of_a_transposed_value_are_other_rows(void **state) {
    (void)state;
    assert_false(splits("  %raw = matmul %hidden, %table {mode = \"nt\"} : f32[B=2, T=7, vocab=50]\n"
                        "  %turned = transpose %raw {perm = [2, 0, 1]} : f32[vocab=50, B=2, T=7]\n"
                        "  %p = softmax %turned : f32[vocab=50, B=2, T=7]\n"
                        "  %back = transpose %p {perm = [1, 2, 0]} : f32[B=2, T=7, vocab=50]\n"
                        "  %nll, %lse = cross_entropy %back, %targets : f32[B=2, T=7], f32[B=2, T=7]\n"
                        "  %total = reduce_sum %nll {dims = [0, 1]} : f32[]\n"));
}

static void outputs_stay_whole(void **state) {
    (void)state;
    Program program = program_read("graph main {\n"
                                   "  %x = input {name = \"x\"} : f32[14, 3]\n"
                                   "  %w = input {name = \"w\"} : f32[50, 3]\n"
                                   "  %y = matmul %x, %w {mode = \"nt\"} : f32[14, 50]\n"
                                   "  %z = logsumexp %y : f32[14]\n"
                                   "  output \"y\" = %y\n"
                                   "  output \"z\" = %z\n"
                                   "}\n");
    run_chunk(program.module, 100, 1);
    assert_int_equal(count_nodes(program.module, OP_matmul), 1);
    program_free(&program);
}

/* ---- Sums and states -------------------------------------------------------------------------------------------- */

/* The sum over the rows of h, added where it is read, and what is read between writes of a state. */
static Program read_sums(void) {
    return program_read("state \"w\" weight : f32[50, 3]\n"
                        "state \"grad:w\" grad : f32[50, 3]\n"
                        "graph main {\n"
                        "  %x = input {name = \"x\"} : f32[14, 3]\n"
                        "  %w = state {name = \"w\"} : f32[50, 3]\n"
                        "  %g = state {name = \"grad:w\"} : f32[50, 3]\n"
                        "  %h = matmul %x, %w {mode = \"nt\"} : f32[14, 50]\n"
                        "  %t = tanh %h : f32[14, 50]\n"
                        "  %c = reduce_sum %h {dims = [0]} : f32[50]\n"
                        "  %s = sum_squares %t : f32[]\n"
                        "  %before = exp %g : f32[50, 3]\n"
                        "  %p = matmul %t, %x {mode = \"tn\"} : f32[50, 3]\n"
                        "  %g1 = accumulate %g, %p : f32[50, 3]\n"
                        "  %after = exp %g1 : f32[50, 3]\n"
                        "  %g2 = accumulate %g1, %after : f32[50, 3]\n"
                        "  output \"c\" = %c\n"
                        "  output \"s\" = %s\n"
                        "  output \"before\" = %before\n"
                        "  output \"after\" = %after\n"
                        "}\n");
}

static void sums_over_rows_are_added_up(void **state) {
    (void)state;
    Program expected = read_sums(), program = read_sums();
    run_chunk(program.module, 100, 5);
    assert_int_equal(count_nodes(program.module, OP_tanh), 3);
    assert_int_equal(count_nodes(program.module, OP_accumulate), 4);
    assert_int_equal(count_nodes(program.module, OP_add), 4);
    expect_same_values(expected.module, program.module, 3, 1e-12);
    program_free(&expected);
    program_free(&program);
}

/* The accumulate that is there before needs what comes of the chunks: they add up to a sum of their own. */
static void a_state_that_waits_for_the_region_takes_one_sum(void **state) {
    (void)state;
    Program program = program_read("state \"w\" weight : f32[3, 50]\n"
                                   "state \"grad:w\" grad : f32[3, 50]\n"
                                   "graph main {\n"
                                   "  %x = input {name = \"x\"} : f32[14, 3]\n"
                                   "  %w = state {name = \"w\"} : f32[3, 50]\n"
                                   "  %g = state {name = \"grad:w\"} : f32[3, 50]\n"
                                   "  %h = matmul %x, %w {mode = \"nn\"} : f32[14, 50]\n"
                                   "  %r = logsumexp %h : f32[14]\n"
                                   "  %n = sum_squares %r : f32[]\n"
                                   "  %b = broadcast %n {dims = []} : f32[3, 50]\n"
                                   "  %g1 = accumulate %g, %b : f32[3, 50]\n"
                                   "  %p = matmul %x, %h {mode = \"tn\"} : f32[3, 50]\n"
                                   "  %g2 = accumulate %g1, %p : f32[3, 50]\n"
                                   "}\n");
    run_chunk(program.module, 700, 5);
    assert_int_equal(count_nodes(program.module, OP_logsumexp), 3);
    assert_int_equal(count_nodes(program.module, OP_accumulate), 2);
    assert_int_equal(count_nodes(program.module, OP_add), 2);
    program_free(&program);
}

/* ---- Chunks ----------------------------------------------------------------------------------------------------- */

/* Rows of the first chunk of f32[n_rows, 64], and how many chunks. */
static void expect_chunks(int64_t n_rows, int64_t bytes, int64_t rows, int64_t n_first, size_t n_chunks) {
    Arena *arena = arena_new();
    Program program = program_read(arena_printf(arena,
                                                "graph main {\n"
                                                "  %%x = input {name = \"x\"} : f32[%lld, 1]\n"
                                                "  %%w = input {name = \"w\"} : f32[64, 1]\n"
                                                "  %%y = matmul %%x, %%w {mode = \"nt\"} : f32[%lld, 64]\n"
                                                "  %%z = logsumexp %%y : f32[%lld]\n"
                                                "  output \"z\" = %%z\n"
                                                "}\n",
                                                (long long)n_rows, (long long)n_rows, (long long)n_rows));
    run_chunk(program.module, bytes, rows);
    const Node *first = program.module->graphs[0]->first;
    while (first->op != OP_matmul)
        first = first->next;
    assert_int_equal(first->results[0].type.dims[0].extent, n_first);
    assert_int_equal(count_nodes(program.module, OP_matmul), n_chunks);
    program_free(&program);
    arena_free(arena);
}

static void chunks_are_equal_and_of_whole_blocks_of_rows(void **state) {
    (void)state;
    expect_chunks(1024, 1024 * 256, 1, 1024, 1); /* fits */
    expect_chunks(1024, 256 * 256, 1, 256, 4);   /* as many as fit */
    expect_chunks(1024, 300 * 256, 1, 256, 4);   /* a multiple of 64 */
    expect_chunks(1536, 1024 * 256, 1, 768, 2);  /* equal rather than large */
    expect_chunks(1000, 300 * 256, 1, 256, 4);   /* the last one is smaller */
    expect_chunks(1024, 1, 256, 256, 4);         /* the least number of rows goes first */
    expect_chunks(300, 1, 256, 256, 2);          /* even if little is left */
    expect_chunks(1024, 10 * 256, 1, 16, 64);    /* no more than 64 */
    expect_chunks(100, 10 * 256, 1, 10, 10);     /* few rows, no multiple */
}

static void settings_are_checked(void **state) {
    (void)state;
    static const char *const attrs[] = {"bytes = 0", "rows = -1", "bytes = 1.5", "rows = \"many\""};
    for (size_t i = 0; i < sizeof attrs / sizeof *attrs; i++) {
        Arena *arena = arena_new();
        Program program = program_read(arena_printf(arena, "directive chunk \"\" {%s}\ngraph main {\n}\n", attrs[i]));
        PlainReporter reporter;
        char *text;
        size_t n_bytes;
        FILE *out = open_memstream(&text, &n_bytes);
        plain_reporter_init(&reporter, out);
        assert_false(chunk_run(program.module, &reporter.base));
        fclose(out);
        assert_non_null(strstr(text, "must be an integer from 1 on"));
        free(text);
        program_free(&program);
        arena_free(arena);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(random_programs_stay_the_same),
        cmocka_unit_test(unsimplified_programs_stay_the_same),
        cmocka_unit_test(reads_and_writes_of_states_keep_their_order),
        cmocka_unit_test(what_follows_takes_the_chunks),
        cmocka_unit_test(logits_of_a_tied_embedding_are_never_whole),
        cmocka_unit_test(the_last_chunk_has_what_is_left),
        cmocka_unit_test(maps_of_logits_are_split_too),
        cmocka_unit_test(small_values_between_large_ones_are_split_too),
        cmocka_unit_test(a_gradient_that_needs_all_rows_keeps_logits_whole),
        cmocka_unit_test(rows_of_a_transposed_value_are_other_rows),
        cmocka_unit_test(outputs_stay_whole),
        cmocka_unit_test(sums_over_rows_are_added_up),
        cmocka_unit_test(a_state_that_waits_for_the_region_takes_one_sum),
        cmocka_unit_test(chunks_are_equal_and_of_whole_blocks_of_rows),
        cmocka_unit_test(settings_are_checked),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
