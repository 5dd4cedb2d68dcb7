// RUN: %unit %s
/* Rotary positions against numbers of the formula (the scaled frequencies equal those of transformers' LlamaConfig),
   attention against a masked softmax that is written out here, its gradient against central differences. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "tests/support/program.h"

/* ---- Rotary positions ---------------------------------------------------------------------------------------- */

static void rope_table_holds_cosines_and_sines(void **state) {
    (void)state;
    Program program = program_read("graph main {\n"
                                   "  %0 = rope_table {theta = 10000.0} : f32[3, 2, 2]\n"
                                   "  output \"table\" = %0\n"
                                   "}\n");
    program_run(&program, "main");
    program_expect(&program, "table",
                   VALUES(1, 0, 1, 0, cos(1), sin(1), cos(0.01), sin(0.01), cos(2), sin(2), cos(0.02), sin(0.02)));
    program_free(&program);
}

/* Head dimension 8: frequencies 1, 0.1, 0.01 and 0.001, of which the first stays, the second blends and the others are
   divided by 8. */
static void rope_table_stretches_as_llama3(void **state) {
    (void)state;
    Program program = program_read("graph main {\n"
                                   "  %0 = rope_table {theta = 10000.0, scaling = \"llama3\", factor = 8.0, "
                                   "low_freq_factor = 1.0, high_freq_factor = 4.0, original_context = 128.0} "
                                   ": f32[1001, 4, 2]\n"
                                   "  output \"table\" = %0\n"
                                   "}\n");
    const double at_1[] = {0.5403023058681398, 0.8414709848078965,   0.9990863075304581, 0.04273815748432363,
                           0.9999992187501017, 0.001249999674479192, 0.9999999921875,    0.00012499999967447917};
    const double at_1000[] = {0.5623790762907029, 0.8268795405320025, 0.3331834426518646, -0.9428620225370473,
                              0.3153223623952687, 0.9489846193555862, 0.992197667229329,  0.12467473338522769};
    program_run(&program, "main");
    const double *table = program_output(&program, "table");
    expect_near("position 1", 8, table + 8, at_1, 1e-13);
    expect_near("position 1000", 8, table + 8000, at_1000, 1e-12);
    program_free(&program);
}

static const char rope_text[] = "graph main {\n"
                                "  %0 = input {name = \"x\"} : f32[1, 2, 2, 4]\n"
                                "  %1 = input {name = \"table\"} : f32[2, 2, 2]\n"
                                "  %2 = rope %0, %1 : f32[1, 2, 2, 4]\n"
                                "  %3 = rope %2, %1 {inverse = true} : f32[1, 2, 2, 4]\n"
                                "  output \"turned\" = %2\n"
                                "  output \"back\" = %3\n"
                                "}\n";

/* Position 0 turns pair 0 by a quarter; position 1 turns pair 1 by a half and pair 0 by the angle of 3-4-5. */
static void rope_turns_halves_by_position(void **state) {
    (void)state;
    Program program = program_read(rope_text);
    program_set(&program, "x", VALUES(1, 2, 3, 4, 5, 6, 7, 8, 5, 2, 10, 4, 0, 6, 5, 8));
    program_set(&program, "table", VALUES(0, 1, 1, 0, 0.6, 0.8, -1, 0));
    program_run(&program, "main");
    program_expect(&program, "turned", VALUES(-3, 2, 1, 4, -7, 6, 5, 8, -5, -2, 10, -4, -4, -6, 3, -8));
    program_free(&program);
}

static void inverse_rope_undoes_rope(void **state) {
    (void)state;
    Program program = program_read(rope_text);
    program_set_random(&program, "x", 1, -2, 2);
    program_set(&program, "table", VALUES(0, 1, 1, 0, 0.6, 0.8, -1, 0));
    program_run(&program, "main");
    expect_near("back", 16, program_output(&program, "back"), program_tensor(&program, "x")->data, 1e-14);
    program_free(&program);
}

/* ---- Attention ----------------------------------------------------------------------------------------------- */

enum { B = 2, T = 5, H = 4, G = 2, D = 3 };

static const char attention_text[] =
    "graph forward {\n"
    "  %%0 = input {name = \"q\"} : f32[2, 5, 4, 3]\n"
    "  %%1 = input {name = \"k\"} : f32[2, 5, 2, 3]\n"
    "  %%2 = input {name = \"v\"} : f32[2, 5, 2, 3]\n"
    "  %%3 = input {name = \"w\"} : f32[2, 5, 4, 3]\n"
    "  %%4, %%5 = attention %%0, %%1, %%2 {scale = 0.7, window = %d} : f32[2, 5, 4, 3], f32[2, 4, 5]\n"
    "  %%6 = mul %%4, %%3 : f32[2, 5, 4, 3]\n"
    "  %%7 = reduce_sum %%6 {dims = [0, 1, 2, 3]} : f32[]\n"
    "  output \"out\" = %%4\n"
    "  output \"logsumexp\" = %%5\n"
    "  output \"loss\" = %%7\n"
    "}\n"
    "graph train {\n"
    "  %%0 = input {name = \"q\"} : f32[2, 5, 4, 3]\n"
    "  %%1 = input {name = \"k\"} : f32[2, 5, 2, 3]\n"
    "  %%2 = input {name = \"v\"} : f32[2, 5, 2, 3]\n"
    "  %%3 = input {name = \"w\"} : f32[2, 5, 4, 3]\n"
    "  %%4, %%5 = attention %%0, %%1, %%2 {scale = 0.7, window = %d} : f32[2, 5, 4, 3], f32[2, 4, 5]\n"
    "  %%6, %%7, %%8 = attention_grad %%0, %%1, %%2, %%4, %%5, %%3 {scale = 0.7, window = %d} : f32[2, 5, 4, 3], "
    "f32[2, 5, 2, 3], f32[2, 5, 2, 3]\n"
    "  output \"grad:q\" = %%6\n"
    "  output \"grad:k\" = %%7\n"
    "  output \"grad:v\" = %%8\n"
    "}\n";

static Program attention_program(int window) {
    Arena *arena = arena_new();
    Program program = program_read(arena_printf(arena, attention_text, window, window, window));
    arena_free(arena);
    program_set_random(&program, "q", 1, -2, 2);
    program_set_random(&program, "k", 2, -2, 2);
    program_set_random(&program, "v", 3, -2, 2);
    program_set_random(&program, "w", 4, -2, 2);
    return program;
}

/* Heads 0 and 1 read key-value head 0, heads 2 and 3 head 1. All T scores are made and the unseen ones masked. */
static void naive_attention(const double *q, const double *k, const double *v, int window, double *out,
                            double *logsumexp) {
    for (int b = 0; b < B; b++) {
        for (int h = 0; h < H; h++) {
            for (int t = 0; t < T; t++) {
                double weights[T], sum = 0;
                for (int s = 0; s < T; s++) {
                    double dot = 0;
                    for (int d = 0; d < D; d++)
                        dot += q[((b * T + t) * H + h) * D + d] * k[((b * T + s) * G + h / 2) * D + d];
                    bool is_seen = s <= t && (window == 0 || s > t - window);
                    weights[s] = is_seen ? exp(0.7 * dot) : 0;
                    sum += weights[s];
                }
                logsumexp[(b * H + h) * T + t] = log(sum);
                for (int d = 0; d < D; d++) {
                    double mean = 0;
                    for (int s = 0; s < T; s++)
                        mean += weights[s] / sum * v[((b * T + s) * G + h / 2) * D + d];
                    out[((b * T + t) * H + h) * D + d] = mean;
                }
            }
        }
    }
}

static void expect_naive_attention(int window) {
    Program program = attention_program(window);
    double out[B * T * H * D], logsumexp[B * H * T];
    naive_attention(program_tensor(&program, "q")->data, program_tensor(&program, "k")->data,
                    program_tensor(&program, "v")->data, window, out, logsumexp);
    program_run(&program, "forward");
    program_expect(&program, "out", B * T * H * D, out);
    program_expect(&program, "logsumexp", B * H * T, logsumexp);
    program_free(&program);
}

static void attention_sees_all_earlier_positions(void **state) {
    (void)state;
    expect_naive_attention(0);
}

static void attention_sees_only_its_window(void **state) {
    (void)state;
    expect_naive_attention(2);
}

static void a_window_of_one_copies_the_value(void **state) {
    (void)state;
    Program program = attention_program(1);
    program_run(&program, "forward");
    const double *v = program_tensor(&program, "v")->data;
    double out[B * T * H * D];
    for (int i = 0; i < B * T * H * D; i++)
        out[i] = v[(i / D / H * G + i / D % H / 2) * D + i % D];
    program_expect(&program, "out", B * T * H * D, out);
    program_free(&program);
}

/* Equal scores of 0.7 * 3 * 1e6, whose exponentials are infinite, still weigh alike. */
static void large_scores_do_not_overflow(void **state) {
    (void)state;
    Program program = attention_program(0);
    Tensor *q = program_tensor(&program, "q"), *k = program_tensor(&program, "k");
    for (int i = 0; i < B * T * H * D; i++)
        q->data[i] = 1e3;
    for (int i = 0; i < B * T * G * D; i++)
        k->data[i] = 1e3;
    program_run(&program, "forward");
    const double *v = program_tensor(&program, "v")->data;
    double mean_at_1[D];
    for (int d = 0; d < D; d++)
        mean_at_1[d] = (v[d] + v[G * D + d]) / 2;
    expect_near("position 1", D, program_output(&program, "out") + H * D, mean_at_1, 1e-12);
    expect_near("logsumexp", 1, program_output(&program, "logsumexp") + 1, (double[]){2.1e6 + log(2)}, 1e-12);
    program_free(&program);
}

static void attention_grad_matches_central_differences(void **state) {
    (void)state;
    Program program = attention_program(0);
    program_expect_gradients(&program);
    program_free(&program);
}

static void windowed_attention_grad_matches_central_differences(void **state) {
    (void)state;
    Program program = attention_program(3);
    program_expect_gradients(&program);
    program_free(&program);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(rope_table_holds_cosines_and_sines),
        cmocka_unit_test(rope_table_stretches_as_llama3),
        cmocka_unit_test(rope_turns_halves_by_position),
        cmocka_unit_test(inverse_rope_undoes_rope),
        cmocka_unit_test(attention_sees_all_earlier_positions),
        cmocka_unit_test(attention_sees_only_its_window),
        cmocka_unit_test(a_window_of_one_copies_the_value),
        cmocka_unit_test(large_scores_do_not_overflow),
        cmocka_unit_test(attention_grad_matches_central_differences),
        cmocka_unit_test(windowed_attention_grad_matches_central_differences),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
