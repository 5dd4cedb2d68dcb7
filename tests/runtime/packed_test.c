// RUN: %unit %s
/* How much memory packed copies of weights may take. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "runtime/gemm.h"
#include "runtime/packed.h"

enum { COPY_BYTES = 1 << 20, GRADIENT_BYTES = 1 << 19, LIMIT = 2 * COPY_BYTES + GRADIENT_BYTES - 1 };

/* Two copies, for each of which the plan counts a MiB. */
#define COPY                                                                                                           \
    {                                                                                                                  \
        .n_groups = 1, .n_cols = 64, .k = 64, .stride = 64, .k_stride = 1, .n_bytes = COPY_BYTES, .n_trained = 2,      \
        .n_evaluated = 1                                                                                               \
    }
static const MoecPacked copies[] = {COPY, COPY};
static const MoecWeight in_arena = {.gradient = {MOEC_SPACE_ARENA, 0}}, kept = {.gradient = {MOEC_SPACE_GRAD, 0}};

static int n_copies(const MoecWeight *weight, int64_t global_batch, uint64_t limit, PackedUse use,
                    int64_t n_micro_batches) {
    MoecPlan plan = {.micro_batch = 2,
                     .space_bytes = {[MOEC_SPACE_GRAD] = GRADIENT_BYTES},
                     .weights = weight,
                     .n_weights = 1,
                     .packed = copies,
                     .n_packed = 2,
                     .packed_limit = limit,
                     .train = {.global_batch = global_batch}};
    MoecGemmPacked shape = {.n_groups = 1, .n_cols = 64, .k = 64, .stride = 64, .k_stride = 1};
    uint64_t n_bytes = (moec_gemm_packed_bytes(&shape) + 63) / 64 * 64;
    return (int)(packed_count_bytes(&plan, use, n_micro_batches) / n_bytes);
}

static void gradients_that_the_plan_has_not_counted_leave_less(void **state) {
    (void)state;
    assert_int_equal(n_copies(&in_arena, 2, LIMIT, PACKED_FOR_TRAINING, 1), 2);
    assert_int_equal(n_copies(&in_arena, 2, LIMIT, PACKED_FOR_TRAINING, 3), 1);
    assert_int_equal(n_copies(&in_arena, 2, LIMIT + 1, PACKED_FOR_TRAINING, 3), 2);
    assert_int_equal(n_copies(&in_arena, 2, GRADIENT_BYTES - 1, PACKED_FOR_TRAINING, 3), 0);
}

static void gradients_that_it_has_counted_leave_what_it_says(void **state) {
    (void)state;
    assert_int_equal(n_copies(&in_arena, 4, LIMIT, PACKED_FOR_TRAINING, 3), 2);
    assert_int_equal(n_copies(&kept, 2, LIMIT, PACKED_FOR_TRAINING, 3), 2);
    assert_int_equal(n_copies(&in_arena, 2, LIMIT, PACKED_FOR_EVALUATION, 3), 2);
    assert_int_equal(n_copies(&in_arena, 2, INT64_MAX, PACKED_FOR_TRAINING, 3), 2);
}

static void a_part_of_the_memory_stays_free(void **state) {
    (void)state;
    assert_true(packed_has_room(875, 1000));
    assert_false(packed_has_room(876, 1000));
    assert_true(packed_has_room(1 << 20, UINT64_MAX));
    assert_false(packed_has_room(1, 0));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(gradients_that_the_plan_has_not_counted_leave_less),
        cmocka_unit_test(gradients_that_it_has_counted_leave_what_it_says),
        cmocka_unit_test(a_part_of_the_memory_stays_free),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
