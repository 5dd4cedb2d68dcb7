// RUN: %unit %s
/* Simplified programs compute what they did, are done after one sweep, and get no larger. tests/passes/simplify.ir
   shows each rule. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "passes/passes.h"
#include "tests/support/stages.h"

enum { N_PROGRAMS = 120, N_STEPS = 14 };

static size_t count_nodes(const Module *module) {
    size_t n = 0;
    for (size_t i = 0; i < module->n_graphs; i++)
        n += module->graphs[i]->n_nodes;
    return n;
}

/* Random programs at the stage `before`. */
static void check_random_programs(const char *before) {
    for (uint64_t seed = 0; seed < N_PROGRAMS; seed++) {
        Arena *arena = arena_new();
        uint64_t data_seed;
        size_t n_bytes;
        const Module *expected = random_stage(arena, seed, N_STEPS, before, &data_seed);
        Module *module = random_stage(arena, seed, N_STEPS, before, &data_seed);
        run_pass(module, "simplify");
        expect_same_values(expected, module, data_seed, 1e-9);
        if (count_nodes(module) > count_nodes(expected))
            fail_msg("%s: %zu nodes have become %zu", module->name, count_nodes(expected), count_nodes(module));
        const char *once = module_text(arena, module, &n_bytes);
        run_pass(module, "simplify");
        expect_same_text("a second sweep", once, module_text(arena, module, &n_bytes));
        arena_free(arena);
    }
}

static void forward_graphs_keep_their_values(void **state) {
    (void)state;
    check_random_programs("lower");
}

/* Training, evaluation and the optimizer's step, one after the other: states are compared too. */
static void training_keeps_its_values(void **state) {
    (void)state;
    check_random_programs("optimizer");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(forward_graphs_keep_their_values),
        cmocka_unit_test(training_keeps_its_values),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
