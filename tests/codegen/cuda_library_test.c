// RUN: %unit %s
/* Which forms are a library's matrix product, and that the product comes to what the form does. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "codegen/cuda_library.h"

enum { ELEMENTS = 1024, MAX_ARGS = 4 };

static void fill(double values[MAX_ARGS][ELEMENTS]) {
    for (size_t arg = 0; arg < MAX_ARGS; arg++) {
        for (int64_t i = 0; i < ELEMENTS; i++)
            values[arg][i] = (double)((7 * (int64_t)arg + 5 * i - 13 * (i / 3)) % 8);
    }
}

static double *at(double values[MAX_ARGS][ELEMENTS], const CudaLibraryMatrix *matrix, int64_t i, int64_t j) {
    return &values[matrix->arg][matrix->offset + i * matrix->stride + j * matrix->k_stride];
}

static void multiply(const CudaLibraryProduct *product, double values[MAX_ARGS][ELEMENTS]) {
    for (int64_t i = 0; i < product->n_rows; i++) {
        for (int64_t j = 0; j < product->n_cols; j++) {
            double sum = product->adds ? *at(values, &product->added, i, j) : 0.0;
            for (int64_t k = 0; k < product->k; k++)
                sum += *at(values, &product->lhs, i, k) * *at(values, &product->rhs, j, k);
            *at(values, &product->out, i, j) = sum;
        }
    }
}

static void with_form(const char *text, void (*run)(Arena *arena, const Form *form)) {
    const char *error;
    Arena *arena = arena_new();
    const Form *form = form_read(arena, text, strlen(text), &error);
    if (!form)
        fail_msg("%s in\n%s", error, text);
    run(arena, form);
    arena_free(arena);
}

/* Values are small whole numbers, so that all sums are exact in bf16 and f32 alike, but for those that are stored as
   bf16: these are not compared. */
static void expect_product(Arena *arena, const Form *form) {
    static double expected[MAX_ARGS][ELEMENTS], actual[MAX_ARGS][ELEMENTS];
    CudaLibraryProduct product;
    double *args[MAX_ARGS];
    for (size_t i = 0; i < MAX_ARGS; i++)
        args[i] = expected[i];
    if (!cuda_library_product(form, &product))
        fail_msg("%s is no product", form->name);
    fill(expected);
    fill(actual);
    assert_null(form_interpret(arena, form, args));
    multiply(&product, actual);
    assert_true(product.out.k_stride == 1 && product.out.stride >= product.n_cols);
    for (size_t arg = 0; arg < form->n_args && form->args[product.out.arg].dtype == DTYPE_F32; arg++) {
        for (int64_t i = 0; i < form->args[arg].n_elements; i++)
            assert_true(expected[arg][i] == actual[arg][i]);
    }
}

static void expect_none(Arena *arena, const Form *form) {
    (void)arena;
    CudaLibraryProduct product;
    if (cuda_library_product(form, &product))
        fail_msg("%s is a product", form->name);
}

#define ARGS(dtype, out, access)                                                                                       \
    "  arg y " out "[30] " access "\n  arg a " dtype "[200] in\n  arg b " dtype "[200] in\n"
#define IN "  arg a f32[200] in\n  arg b f32[200] in\n"
#define WIDE "  arg y f32[120] inout\n" IN
#define SIDES "  row r 6\n  col n 5\n"
#define OPERANDS "  operand a = a[i*8 + k]\n  operand b = b[2 + i + k*7]\n"
#define PRODUCT "  product 0 = a, b k 4\n"
#define STORE "  %0 = sum 0\n  store y[r*5 + n] = %0\n}\n"

static void products_are_found(void **state) {
    (void)state;
    static const char *const texts[] = {
        "form stored product {\n" ARGS("f32", "f32", "out") SIDES OPERANDS PRODUCT STORE,
        "form of_bf16 product {\n" ARGS("bf16", "f32", "out") SIDES OPERANDS PRODUCT STORE,
        "form to_bf16 product {\n" ARGS("bf16", "bf16", "out") SIDES OPERANDS PRODUCT STORE,
        "form rounded product {\n" ARGS("bf16", "bf16", "out") SIDES OPERANDS PRODUCT
        "  %0 = sum 0\n  %1 = to_bf16 %0\n  store y[r*5 + n] = %1\n}\n",
        "form accumulated product {\n" WIDE SIDES OPERANDS PRODUCT "  %0 = sum 0\n  add y[r*9 + n + 3] += %0\n}\n",
        "form transposed product {\n" ARGS("f32", "f32", "inout") SIDES OPERANDS PRODUCT
        "  %0 = sum 0\n  add y[r + n*6] += %0\n}\n",
        "form of_two_rows product {\n" ARGS("f32", "f32", "out") "  row s 2\n  row t 3\n  col n 5\n" OPERANDS PRODUCT
                                                                 "  %0 = sum 0\n  store y[s*15 + t*5 + n] = %0\n}\n",
        "form residual product {\n" ARGS("f32", "f32", "out") "  arg x f32[30] in\n" SIDES OPERANDS
            PRODUCT "  %0 = sum 0\n  %1 = load x[r*5 + n]\n  %2 = add %1, %0\n  store y[r*5 + n] = %2\n}\n",
        "form one_column product {\n  arg y f32[6] out\n" IN "  row r 6\n" OPERANDS PRODUCT
        "  %0 = sum 0\n  store y[r] = %0\n}\n",
        "form one_row product {\n  arg y f32[5] out\n" IN "  col n 5\n" OPERANDS PRODUCT
        "  %0 = sum 0\n  store y[n] = %0\n}\n",
        "form square product {\n  arg y f32[25] out\n  arg a f32[200] in\n"
        "  row r 5\n  col n 5\n  operand a = a[i*8 + k]\n"
        "  product 0 = a, a k 4\n  %0 = sum 0\n  store y[r*5 + n] = %0\n}\n",
    };
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++)
        with_form(texts[i], expect_product);
}

static void what_does_more_is_none(void **state) {
    (void)state;
    static const char *const texts[] = {
        "form activated product {\n" ARGS("f32", "f32", "out") SIDES OPERANDS PRODUCT
        "  %0 = sum 0\n  %1 = silu %0\n  store y[r*5 + n] = %1\n}\n",
        "form with_bias product {\n" ARGS(
            "f32", "f32", "out") "  arg x f32[5] in\n" SIDES OPERANDS PRODUCT
                                 "  %0 = sum 0\n  %1 = load x[n]\n  %2 = add %0, %1\n  store y[r*5 + n] = %2\n}\n",
        "form stored_twice product {\n" ARGS(
            "f32", "f32", "out") "  arg x f32[30] out\n" SIDES OPERANDS PRODUCT
                                 "  %0 = sum 0\n  store y[r*5 + n] = %0\n  store x[r*5 + n] = %0\n}\n",
        "form apart product {\n" WIDE SIDES OPERANDS PRODUCT "  %0 = sum 0\n  add y[r*12 + n*2] += %0\n}\n",
        "form gathered product {\n" ARGS(
            "f32", "f32", "out") "  arg p i32[6] in\n" SIDES
                                 "  operand a = a[i*8 + k] gather p / 1\n  operand b = b[i*4 + k]\n" PRODUCT STORE,
        "form two product {\n" ARGS("f32", "f32", "out") SIDES OPERANDS PRODUCT PRODUCT STORE,
        "form computed product {\n" ARGS("f32", "f32", "out") SIDES
        "  operand a = a[i*8 + k]\n"
        "  part b k_minor {\n    row n 5\n    col k 4\n    %0 = load b[n*4 + k]\n    %1 = relu %0\n    yield %1\n  "
        "}\n" PRODUCT STORE,
        "form rounded_f32 product {\n" ARGS("bf16", "f32", "out") SIDES OPERANDS PRODUCT
        "  %0 = sum 0\n  %1 = to_bf16 %0\n  store y[r*5 + n] = %1\n}\n",
    };
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++)
        with_form(texts[i], expect_none);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(products_are_found),
        cmocka_unit_test(what_does_more_is_none),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
