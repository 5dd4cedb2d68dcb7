// RUN: %unit %s
/* Programs after the products pass compute what they did, are done after one run, and meet every rule.
   tests/passes/products.ir shows each. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#include "passes/passes.h"
#include "tests/support/stages.h"

enum { N_PROGRAMS = 120, N_STEPS = 14 };

/* Whether the pass has moved factors, turned the sums along a product, or split one: more products, fewer sums. */
static void count_ops(const Module *module, size_t *counts) {
    memset(counts, 0, sizeof *counts * OP_COUNT);
    for (size_t i = 0; i < module->n_graphs; i++) {
        for (const Node *node = module->graphs[i]->first; node; node = node->next)
            counts[node->op]++;
    }
}

/* Training, evaluation and the optimizer's step, one after the other: states are compared too. */
static void training_keeps_its_values(void **state) {
    (void)state;
    size_t n_changed = 0, n_split = 0, n_grouped_sums_less = 0;
    for (uint64_t seed = 0; seed < N_PROGRAMS; seed++) {
        Arena *arena = arena_new();
        uint64_t data_seed;
        size_t n_bytes, before[OP_COUNT], after[OP_COUNT];
        const Module *expected = random_stage(arena, seed, N_STEPS, "simplify", &data_seed);
        Module *module = random_stage(arena, seed, N_STEPS, "products", &data_seed);
        expect_same_values(expected, module, data_seed, 1e-9);
        const char *simple = module_text(arena, expected, &n_bytes), *once = module_text(arena, module, &n_bytes);
        count_ops(expected, before);
        count_ops(module, after);
        n_changed += strcmp(simple, once) != 0;
        n_split += after[OP_reshape] > before[OP_reshape];
        n_grouped_sums_less += after[OP_grouped_sum] < before[OP_grouped_sum];
        run_pass(module, "products");
        expect_same_text("a second run", once, module_text(arena, module, &n_bytes));
        arena_free(arena);
    }
    assert_true(n_changed >= 10 && n_split >= 5 && n_grouped_sums_less >= 5);
}

/* Before simplify has made one of equal nodes. */
static void any_form_keeps_its_values(void **state) {
    (void)state;
    for (uint64_t seed = 0; seed < N_PROGRAMS; seed++) {
        Arena *arena = arena_new();
        uint64_t data_seed;
        const Module *expected = random_stage(arena, seed, N_STEPS, "optimizer", &data_seed);
        Module *module = random_stage(arena, seed, N_STEPS, "optimizer", &data_seed);
        run_pass(module, "products");
        expect_same_values(expected, module, data_seed, 1e-9);
        arena_free(arena);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(training_keeps_its_values),
        cmocka_unit_test(any_form_keeps_its_values),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
