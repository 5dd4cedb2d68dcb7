// RUN: %unit %s
/* The elementwise ops against values computed by PyTorch in double precision. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "tests/support/program.h"

#define POINTS -3, -0.5, 0, 0.25, 2
enum { N_POINTS = 5 };

typedef struct {
    const char *op;
    double values[N_POINTS]; /* at POINTS */
} UnaryCase;

static const UnaryCase unary_cases[] = {
    {"copy", {-3, -0.5, 0, 0.25, 2}},
    {"neg", {3, 0.5, 0, -0.25, -2}},
    {"exp", {0.049787068367863944, 0.6065306597126334, 1, 1.2840254166877414, 7.38905609893065}},
    {"tanh", {-0.9950547536867305, -0.4621171572600098, 0, 0.24491866240370913, 0.9640275800758169}},
    {"sigmoid", {0.04742587317756678, 0.3775406687981454, 0.5, 0.5621765008857981, 0.8807970779778823}},
    {"relu", {0, 0, 0, 0.25, 2}},
    {"silu", {-0.14227761953270035, -0.1887703343990727, 0, 0.14054412522144952, 1.7615941559557646}},
    {"gelu", {-0.00404969409489031, -0.15426876936299344, 0, 0.14967658142073093, 1.9544997361036416}},
    {"gelu_tanh", {-0.0036373920817729943, -0.15428599017485606, 0, 0.149675350701685, 1.954597694087775}},
};

static const UnaryCase gradient_cases[] = {
    {"relu_grad", {0, 0, 0, 1, 1}},
    {"silu_grad", {-0.08810410601516962, 0.2600388126973482, 0.5, 0.6237100215701977, 1.0907842487848955}},
    {"gelu_grad", {-0.01194564720418392, 0.13250487534383712, 0.5, 0.695373354883636, 1.085231801078197}},
    {"gelu_tanh_grad", {-0.011584166630969648, 0.13263009646535764, 0.5, 0.6953540951510604, 1.0860992566236183}},
};

/* graph main: y = op(x), or op(x, b) for an op of two operands; all f32[n]. */
static Program op_program(const char *op, bool is_binary, int n) {
    Arena *arena = arena_new();
    Program program = program_read(arena_printf(arena,
                                                "graph main {\n"
                                                "  %%0 = input {name = \"x\"} : f32[%d]\n"
                                                "  %%1 = input {name = \"b\"} : f32[%d]\n"
                                                "  %%2 = %s %%0%s : f32[%d]\n"
                                                "  output \"y\" = %%2\n"
                                                "}\n",
                                                n, n, op, is_binary ? ", %1" : "", n));
    arena_free(arena);
    program_tensor(&program, "b"); /* bound to zeros */
    return program;
}

static void unary_ops_match_reference(void **state) {
    (void)state;
    for (size_t i = 0; i < sizeof unary_cases / sizeof *unary_cases; i++) {
        Program program = op_program(unary_cases[i].op, false, N_POINTS);
        program_set(&program, "x", VALUES(POINTS));
        program_run(&program, "main");
        expect_near(unary_cases[i].op, N_POINTS, program_output(&program, "y"), unary_cases[i].values, 1e-15);
        program_free(&program);
    }
}

static void ops_of_positive_numbers_match_reference(void **state) {
    (void)state;
    static const struct {
        const char *op;
        double values[3];
    } cases[] = {
        {"log", {-1.3862943611198906, 0, 1.0986122886681098}},
        {"sqrt", {0.5, 1, 1.7320508075688772}},
        {"rsqrt", {2, 1, 0.5773502691896258}},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        Program program = op_program(cases[i].op, false, 3);
        program_set(&program, "x", VALUES(0.25, 1, 3));
        program_run(&program, "main");
        expect_near(cases[i].op, 3, program_output(&program, "y"), cases[i].values, 1e-15);
        program_free(&program);
    }
}

static void binary_ops_compute(void **state) {
    (void)state;
    static const struct {
        const char *op;
        double values[3];
    } cases[] = {
        {"add", {3, 1, -0.25}},
        {"sub", {-1, -7, 0.75}},
        {"mul", {2, -12, -0.125}},
        {"div", {0.5, -0.75, -0.5}},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        Program program = op_program(cases[i].op, true, 3);
        program_set(&program, "x", VALUES(1, -3, 0.25));
        program_set(&program, "b", VALUES(2, 4, -0.5));
        program_run(&program, "main");
        expect_near(cases[i].op, 3, program_output(&program, "y"), cases[i].values, 0);
        program_free(&program);
    }
}

/* op_grad(x, dy) = dy * derivative(x). */
static void gradient_ops_match_reference(void **state) {
    (void)state;
    for (size_t i = 0; i < sizeof gradient_cases / sizeof *gradient_cases; i++) {
        Program program = op_program(gradient_cases[i].op, true, N_POINTS);
        const double dy[N_POINTS] = {2, -1, 3, 0.5, -4};
        double expected[N_POINTS];
        for (int j = 0; j < N_POINTS; j++)
            expected[j] = dy[j] * gradient_cases[i].values[j];
        program_set(&program, "x", VALUES(POINTS));
        program_set(&program, "b", N_POINTS, dy);
        program_run(&program, "main");
        expect_near(gradient_cases[i].op, N_POINTS, program_output(&program, "y"), expected, 1e-15);
        program_free(&program);
    }
}

static void gradient_ops_match_central_differences(void **state) {
    (void)state;
    const char *ops[] = {"relu", "silu", "gelu", "gelu_tanh"};
    Arena *arena = arena_new();
    for (size_t i = 0; i < sizeof ops / sizeof *ops; i++) {
        Program program = program_read(arena_printf(arena,
                                                    "graph forward {\n"
                                                    "  %%0 = input {name = \"x\"} : f32[12]\n"
                                                    "  %%1 = input {name = \"w\"} : f32[12]\n"
                                                    "  %%2 = %s %%0 : f32[12]\n"
                                                    "  %%3 = mul %%2, %%1 : f32[12]\n"
                                                    "  %%4 = reduce_sum %%3 {dims = [0]} : f32[]\n"
                                                    "  output \"loss\" = %%4\n"
                                                    "}\n"
                                                    "graph train {\n"
                                                    "  %%0 = input {name = \"x\"} : f32[12]\n"
                                                    "  %%1 = input {name = \"w\"} : f32[12]\n"
                                                    "  %%2 = %s_grad %%0, %%1 : f32[12]\n"
                                                    "  output \"grad:x\" = %%2\n"
                                                    "}\n",
                                                    ops[i], ops[i]));
        program_set_random(&program, "x", 1, -4, 4);
        program_set_random(&program, "w", 2, -1, 1);
        program_expect_gradients(&program);
        program_free(&program);
    }
    arena_free(arena);
}

static void ends_of_the_range_do_not_overflow(void **state) {
    (void)state;
    static const struct {
        const char *op;
        double values[2];
    } cases[] = {
        {"sigmoid", {0, 1}}, {"silu", {0, 1e5}}, {"gelu", {0, 1e5}}, {"gelu_tanh", {0, 1e5}}, {"tanh", {-1, 1}}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        Program program = op_program(cases[i].op, false, 2);
        program_set(&program, "x", VALUES(-1e5, 1e5));
        program_run(&program, "main");
        expect_near(cases[i].op, 2, program_output(&program, "y"), cases[i].values, 0);
        program_free(&program);
    }
}

/* Rows that no expert has hold NaN; an op that made a number of it would hide a leak. */
static void every_map_carries_nan_on(void **state) {
    (void)state;
    const char *ops[] = {"copy", "neg",       "exp",     "log",       "sqrt", "rsqrt",         "tanh",
                         "relu", "relu_grad", "silu",    "silu_grad", "gelu", "add",           "gelu_tanh",
                         "div",  "gelu_grad", "sigmoid", "sub",       "mul",  "gelu_tanh_grad"};
    for (size_t i = 0; i < sizeof ops / sizeof *ops; i++) {
        OpKind kind;
        assert_true(op_parse(ops[i], &kind));
        Program program = op_program(ops[i], op_info(kind)->n_operands == 2, 1);
        program_set(&program, "x", VALUES(NAN));
        program_set(&program, "b", VALUES(1));
        program_run(&program, "main");
        expect_near(ops[i], 1, program_output(&program, "y"), (double[]){NAN}, 0);
        program_free(&program);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(unary_ops_match_reference),
        cmocka_unit_test(ops_of_positive_numbers_match_reference),
        cmocka_unit_test(binary_ops_compute),
        cmocka_unit_test(gradient_ops_match_reference),
        cmocka_unit_test(gradient_ops_match_central_differences),
        cmocka_unit_test(ends_of_the_range_do_not_overflow),
        cmocka_unit_test(every_map_carries_nan_on),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
