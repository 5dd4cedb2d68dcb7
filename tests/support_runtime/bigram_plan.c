#include "tests/support_runtime/bigram_plan.h"

#include <math.h>
#include <signal.h>

enum { B = BIGRAM_BATCH, T = BIGRAM_T, V = BIGRAM_VOCAB, N = B * T };

/* ---- Kernels ---------------------------------------------------------------------------------------------------- */

/* -log softmax(row)[target], and the softmax. */
static double negative_log_likelihood(const float *row, int32_t target, double *softmax) {
    double most = -INFINITY, sum = 0.0;
    for (int i = 0; i < V; i++)
        most = fmax(most, (double)row[i]);
    for (int i = 0; i < V; i++)
        sum += softmax[i] = exp((double)row[i] - most);
    for (int i = 0; i < V; i++)
        softmax[i] /= sum;
    return log(sum) + most - (double)row[target];
}

static void obey(int32_t token, float *loss, float *gradient) {
    if (token == BIGRAM_NAN)
        *loss = NAN;
    if (token == BIGRAM_INFINITE)
        gradient[0] = INFINITY;
    if (token == BIGRAM_STOP || token == BIGRAM_KILL)
        raise(SIGTERM);
    if (token == BIGRAM_KILL)
        raise(SIGTERM);
}

/* loss, nll, expert_load, gradient; table, tokens, targets, loss_scale */
static void train_kernel(void *const *args) {
    float *loss = args[0], *nll = args[1], *load = args[2], *gradient = args[3];
    const float *table = args[4], *scale = args[7];
    const int32_t *tokens = args[5], *targets = args[6];
    double sum = 0.0, softmax[V];
    load[0] = load[1] = 0.0f;
    for (int i = 0; i < N; i++) {
        sum += negative_log_likelihood(table + tokens[i] * V, targets[i], softmax);
        for (int j = 0; j < V; j++)
            gradient[tokens[i] * V + j] += *scale * (float)((softmax[j] - (j == targets[i])) / N);
        load[tokens[i] % 2]++;
    }
    *loss = *nll = (float)(sum / N);
    for (int i = 0; i < N; i++)
        obey(tokens[i], loss, gradient);
}

/* nll; table, tokens, targets */
static void eval_kernel(void *const *args) {
    const int32_t *tokens = args[2], *targets = args[3];
    double sum = 0.0, softmax[V];
    for (int i = 0; i < N; i++)
        sum += negative_log_likelihood((const float *)args[1] + tokens[i] * V, targets[i], softmax);
    *(float *)args[0] = (float)(sum / N);
}

/* logits; table, tokens */
static void generate_kernel(void *const *args) {
    const int32_t *tokens = args[2];
    for (int i = 0; i < BIGRAM_WINDOW * V; i++)
        ((float *)args[0])[i] = ((const float *)args[1])[tokens[i / V] * V + i % V];
}

/* grad_norm; table, gradient, moment1, moment2, hyper, max_norm */
static void update_kernel(void *const *args) {
    float *w = args[1], *g = args[2], *m = args[3], *v = args[4];
    const float *hyper = args[5], *max_norm = args[6];
    double squares = 0.0;
    for (int i = 0; i < BIGRAM_ELEMENTS; i++)
        squares += (double)g[i] * (double)g[i];
    float norm = (float)sqrt(squares);
    float scale = norm + 1e-6f > *max_norm ? *max_norm / (norm + 1e-6f) : 1.0f;
    for (int i = 0; i < BIGRAM_ELEMENTS; i++) {
        m[i] = hyper[1] * m[i] + (1.0f - hyper[1]) * scale * g[i];
        v[i] = hyper[2] * v[i] + (1.0f - hyper[2]) * scale * g[i] * scale * g[i];
        w[i] -= hyper[0] * (m[i] / hyper[5] / (sqrtf(v[i] / hyper[6]) + hyper[3]) + hyper[4] * w[i]);
        g[i] = 0.0f;
    }
    *(float *)args[0] = norm;
}

/* ---- The plan --------------------------------------------------------------------------------------------------- */

static const MoecKernel kernels[] = {
    {train_kernel, "train", 0, 0},
    {eval_kernel, "eval", 0, 0},
    {generate_kernel, "generate", 0, 0},
    {update_kernel, "update", 0, 0},
};

#define ARENA(offset)                                                                                                  \
    { MOEC_SPACE_ARENA, offset }
#define TABLE                                                                                                          \
    { MOEC_SPACE_WEIGHT, 0 }
#define GRADIENT                                                                                                       \
    { MOEC_SPACE_GRAD, 0 }

/* Scalars lie 64 bytes apart, tokens behind them, logits last. */
enum { LOSS = 0, NLL = 64, LOAD = 128, SCALE = 192, HYPER = 256, BOUND = 320, NORM = 384, TOKENS = 448, TARGETS = 512 };
enum { LOGITS = 576, ARENA_BYTES = LOGITS + BIGRAM_WINDOW * V * 4 };

static const MoecAddress train_args[] = {ARENA(LOSS), ARENA(NLL),    ARENA(LOAD),    GRADIENT,
                                         TABLE,       ARENA(TOKENS), ARENA(TARGETS), ARENA(SCALE)};
static const MoecAddress eval_args[] = {ARENA(NLL), TABLE, ARENA(TOKENS), ARENA(TARGETS)};
static const MoecAddress generate_args[] = {ARENA(LOGITS), TABLE, ARENA(TOKENS)};
static const MoecAddress update_args[] = {
    ARENA(NORM), TABLE, GRADIENT, {MOEC_SPACE_MOMENT1, 0}, {MOEC_SPACE_MOMENT2, 0}, ARENA(HYPER), ARENA(BOUND)};

static const MoecLaunch launches[] = {
    {0, 0, 8, "%0", "bigram.moe:1:1", 0, 0},
    {1, 0, 4, "%0", "bigram.moe:1:1", 0, 0},
    {2, 0, 3, "%0", "bigram.moe:1:1", 0, 0},
    {3, 0, 7, "%0", "bigram.moe:1:1", 0, 0},
};

static const MoecTensor train_inputs[] = {
    {"tokens", MOEC_DTYPE_I32, 2, {B, T}, ARENA(TOKENS)},
    {"targets", MOEC_DTYPE_I32, 2, {B, T}, ARENA(TARGETS)},
    {"loss_scale", MOEC_DTYPE_F32, 0, {0}, ARENA(SCALE)},
};
static const MoecTensor train_outputs[] = {
    {"loss", MOEC_DTYPE_F32, 0, {0}, ARENA(LOSS)},
    {"nll", MOEC_DTYPE_F32, 0, {0}, ARENA(NLL)},
    {"expert_load", MOEC_DTYPE_F32, 2, {1, 2}, ARENA(LOAD)},
};
static const MoecTensor generate_inputs[] = {{"tokens", MOEC_DTYPE_I32, 2, {1, BIGRAM_WINDOW}, ARENA(TOKENS)}};
static const MoecTensor generate_outputs[] = {{"logits", MOEC_DTYPE_F32, 3, {1, BIGRAM_WINDOW, V}, ARENA(LOGITS)}};
static const MoecTensor update_inputs[] = {
    {"hyper", MOEC_DTYPE_F32, 1, {7}, ARENA(HYPER)},
    {"max_norm", MOEC_DTYPE_F32, 0, {0}, ARENA(BOUND)},
};
static const MoecTensor update_outputs[] = {{"grad_norm", MOEC_DTYPE_F32, 0, {0}, ARENA(NORM)}};

static const MoecProgram programs[] = {
    {"train", &launches[0], 1, train_args, 8, train_inputs, 3, train_outputs, 3, ARENA_BYTES, NULL, 0},
    {"eval", &launches[1], 1, eval_args, 4, train_inputs, 2, train_outputs + 1, 1, ARENA_BYTES, NULL, 0},
    {"generate", &launches[2], 1, generate_args, 3, generate_inputs, 1, generate_outputs, 1, ARENA_BYTES, NULL, 0},
    {"update", &launches[3], 1, update_args, 7, update_inputs, 2, update_outputs, 1, ARENA_BYTES, NULL, 0},
};

static const MoecWeight weights[] = {
    {.name = "table.weight",
     .rank = 2,
     .dims = {V, V},
     .gradient = GRADIENT,
     .source = "table.weight",
     .init = "zeros",
     .export_name = "table.weight",
     .decay = true,
     .where = "bigram.moe:2:1"},
};

const MoecPlan bigram_plan = {
    .version = MOEC_PLAN_VERSION,
    .model = "bigram",
    .hash = "0123456789abcdef",
    .is_moe = true,
    .micro_batch = B,
    .sequence = T,
    .vocab = V,
    .generate_sequence = BIGRAM_WINDOW,
    .n_experts = 2,
    .top_k = 1,
    .n_moe_layers = 1,
    .active_parameters = BIGRAM_ELEMENTS,
    .total_parameters = BIGRAM_ELEMENTS,
    .model_flops_per_token = V,
    .full_flops_per_token = 2 * V,
    .space_bytes = {BIGRAM_ELEMENTS * 4, BIGRAM_ELEMENTS * 4, BIGRAM_ELEMENTS * 4, BIGRAM_ELEMENTS * 4, ARENA_BYTES},
    .kernels = kernels,
    .n_kernels = sizeof kernels / sizeof *kernels,
    .programs = programs,
    .n_programs = sizeof programs / sizeof *programs,
    .weights = weights,
    .n_weights = 1,
    .train = {.steps = 100,
              .global_batch = B,
              .lr = 0.1,
              .min_lr = 1.0,
              .schedule = "constant",
              .beta1 = 0.9,
              .beta2 = 0.95,
              .epsilon = 1e-8,
              .seed = 1},
    .precision = "f32",
    .cpu_features = "",
};
