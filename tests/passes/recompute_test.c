// RUN: %unit %s
/* What is computed again is the same, bit for bit, whatever the budget; and the plan keeps to the budget. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#include "passes/liveness.h"
#include "passes/passes.h"
#include "tests/support/program.h"
#include "tests/support/stages.h"

enum { N_PROGRAMS = 40, N_STEPS = 14 };

static void ignore(Reporter *self, ReportKind kind, const Module *module, Loc loc, const char *message) {
    (void)self, (void)kind, (void)module, (void)loc, (void)message;
}

static bool run_within(Module *module, int64_t budget) {
    Directive *memory = module_add_directive(module, "memory", "", (Loc){0});
    attrs_set_int(module->arena, &memory->attrs, "budget", budget);
    Reporter reporter = {.emit = ignore};
    if (!recompute_run(module, &reporter))
        return false;
    assert_null(module_verify(module));
    return true;
}

static void run_rest(Module *module) {
    for (const Pass *pass = pass_find("recompute") + 1; pass->name; pass++)
        run_pass(module, pass->name);
}

static int64_t state_bytes(const Module *module) {
    int64_t n_bytes = 0;
    for (size_t i = 0; i < module->n_states; i++)
        n_bytes += arena_bytes_of(&module->states[i]->type);
    return n_bytes;
}

/* Of a planned module: states, and the arena that its graphs share. */
static int64_t needed_bytes(const Module *module) {
    int64_t largest = 0;
    for (size_t i = 0; i < module->n_graphs; i++) {
        int64_t n_bytes = attrs_int(&module->graphs[i]->attrs, "arena_bytes", -1);
        assert_true(n_bytes >= 0);
        largest = n_bytes > largest ? n_bytes : largest;
    }
    return state_bytes(module) + largest;
}

static const Attrs *train_attrs(const Module *module) {
    return &module_find_graph(module, "train")->attrs;
}

/* ---- Random programs -------------------------------------------------------------------------------------------- */

static void random_programs_compute_the_same(void **state) {
    (void)state;
    int n_recomputed = 0;
    for (uint64_t seed = 0; seed < N_PROGRAMS; seed++) {
        Arena *arena = arena_new();
        uint64_t data_seed;
        const Module *expected = random_stage(arena, seed, N_STEPS, "simplify", &data_seed);
        Module *module = random_stage(arena, seed, N_STEPS, "simplify", &data_seed);
        run_pass(module, "recompute");
        n_recomputed += attrs_int(train_attrs(module), "recomputed", 0) > 0;
        expect_same_values(expected, module, data_seed, 0);
        arena_free(arena);
    }
    assert_true(n_recomputed > N_PROGRAMS / 2);
}

/* With a budget just below what the last one came to, until none is possible: each is kept to, and all compute the
   same. */
static void budgets_are_kept_to(void **state) {
    (void)state;
    int n_lower = 0, n_flops = 0;
    for (uint64_t seed = 0; seed < N_PROGRAMS / 2; seed++) {
        Arena *arena = arena_new();
        uint64_t data_seed;
        const Module *expected = random_stage(arena, seed, N_STEPS, "simplify", &data_seed);
        int64_t needed = INT64_MAX;
        double flops = 0;
        for (;;) {
            Module *module = random_stage(arena, seed, N_STEPS, "simplify", &data_seed);
            if (!run_within(module, needed - 1))
                break;
            run_rest(module);
            n_lower += needed < INT64_MAX;
            assert_true(needed_bytes(module) < needed);
            needed = needed_bytes(module);
            n_flops += attrs_float(train_attrs(module), "recomputed_flops", 0) > flops;
            flops = attrs_float(train_attrs(module), "recomputed_flops", 0);
            expect_same_values(expected, module, data_seed, 0);
        }
        arena_free(arena);
    }
    assert_true(n_lower > 10);
    assert_true(n_flops > 10);
}

/* ---- By hand ---------------------------------------------------------------------------------------------------- */

/* Graph train with a wide map of `operand` that both halves read. Whether the backward half computes it again. */
static bool is_recomputed(const char *operand, const char *update) {
    Arena *arena = arena_new();
    Program program = program_read(arena_printf(arena,
                                                "state \"w\" weight : f32[64]\n"
                                                "state \"g\" weight : f32[64]\n"
                                                "graph train {\n"
                                                "  %%w = state {name = \"w\"} : f32[64]\n"
                                                "  %%g = state {name = \"g\"} : f32[64]\n"
                                                "  %%x = input {name = \"x\"} : f32[64]\n"
                                                "  %%m = exp %%%s : f32[64]\n"
                                                "  %%l = reduce_sum %%m {dims = [0]} : f32[]\n"
                                                "  %%scale = input {name = \"loss_scale\"} : f32[]\n"
                                                "  %%d = broadcast %%scale {dims = []} : f32[64]\n"
                                                "  %%e = neg %%d : f32[64]\n"
                                                "%s"
                                                "  %%b = mul %%e, %%m : f32[64]\n"
                                                "  %%u = accumulate %%g, %%b : f32[64]\n"
                                                "  output \"loss\" = %%l\n"
                                                "}\n",
                                                operand, update));
    run_pass(program.module, "recompute");
    bool is_recomputed = attrs_int(train_attrs(program.module), "recomputed", 0) > 0;
    program_free(&program);
    arena_free(arena);
    return is_recomputed;
}

static void what_reads_a_state_that_changes_is_kept(void **state) {
    (void)state;
    assert_true(is_recomputed("x", ""));
    assert_true(is_recomputed("w", ""));
    assert_false(is_recomputed("w", "  %n = accumulate %w, %e : f32[64]\n"));
    assert_false(is_recomputed("g", ""));
}

/* A value that the forward half still reads after the backward half has begun, as a loss in chunks does, is not idle.
 */
static void what_is_in_use_is_kept(void **state) {
    (void)state;
    Program program = program_read("state \"g\" weight : f32[64]\n"
                                   "graph train {\n"
                                   "  %g = state {name = \"g\"} : f32[64]\n"
                                   "  %x = input {name = \"x\"} : f32[64]\n"
                                   "  %m = exp %x : f32[64]\n"
                                   "  %l1 = reduce_sum %m {dims = [0]} : f32[]\n"
                                   "  %scale = input {name = \"loss_scale\"} : f32[]\n"
                                   "  %d = broadcast %scale {dims = []} : f32[64]\n"
                                   "  %b1 = mul %d, %m : f32[64]\n"
                                   "  %u1 = accumulate %g, %b1 : f32[64]\n"
                                   "  %t = neg %m : f32[64]\n"
                                   "  %l2 = reduce_sum %t {dims = [0]} : f32[]\n"
                                   "  %b2 = mul %d, %m : f32[64]\n"
                                   "  %u2 = accumulate %u1, %b2 : f32[64]\n"
                                   "  %l = add %l1, %l2 : f32[]\n"
                                   "  output \"loss\" = %l\n"
                                   "}\n");
    run_pass(program.module, "recompute");
    assert_int_equal(attrs_int(train_attrs(program.module), "recomputed", 0), 0);
    program_free(&program);
}

/* An input of that name counts sequences if it has a dim of them. */
static void tokens_may_be_one_number(void **state) {
    (void)state;
    Program program = program_read("directive gradients \"arena\"\n"
                                   "state \"w\" weight : f32[64]\n"
                                   "state \"grad:w\" grad : f32[64]\n"
                                   "graph train {\n"
                                   "  %tokens = input {name = \"tokens\"} : i32[]\n"
                                   "  %x = input {name = \"x\"} : f32[64]\n"
                                   "  %g = state {name = \"grad:w\"} : f32[64]\n"
                                   "  %sum = accumulate %g, %x {starts = true} : f32[64]\n"
                                   "  %l = reduce_sum %x {dims = [0]} : f32[]\n"
                                   "  output \"loss\" = %l\n"
                                   "}\n");
    assert_true(run_within(program.module, 1 << 20));
    program_free(&program);
}

/* Equal modules come out as equal text. */
static void equal_programs_recompute_the_same(void **state) {
    (void)state;
    for (uint64_t seed = 0; seed < 4; seed++) {
        Arena *arena = arena_new();
        uint64_t data_seed;
        size_t n_bytes;
        const char *one = module_text(arena, random_stage(arena, seed, N_STEPS, "recompute", &data_seed), &n_bytes);
        const char *two = module_text(arena, random_stage(arena, seed, N_STEPS, "recompute", &data_seed), &n_bytes);
        expect_same_text("the second run", one, two);
        arena_free(arena);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(random_programs_compute_the_same),
        cmocka_unit_test(budgets_are_kept_to),
        cmocka_unit_test(what_reads_a_state_that_changes_is_kept),
        cmocka_unit_test(what_is_in_use_is_kept),
        cmocka_unit_test(tokens_may_be_one_number),
        cmocka_unit_test(equal_programs_recompute_the_same),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
