// RUN: %unit %s
/* The weight map: what becomes of a dense checkpoint's tensors, under which names they are found, and what is said of
   those that are not. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <omp.h>

#include "runtime/random.h"
#include "runtime/weights.h"
#include "tests/support_runtime/tensors.h"
#include "tests/support_runtime/tiny_plan.h"

enum { SEED = 11, SLICE = TINY_FF * TINY_D };

static bool load(TinyPlan *tiny, Folder *folder, const char *name, WeightsReport *report, Status *status) {
    ModelDir dir;
    if (!model_dir_open(&dir, folder_path(folder, name), status))
        return false;
    weights_load(&tiny->plan, &dir, SEED, tiny->spaces[MOEC_SPACE_WEIGHT], NULL, NULL, report, status);
    model_dir_close(&dir);
    return !status->failed;
}

/* Writes the plan's dense checkpoint and loads it. */
static WeightsReport load_dense(TinyPlan *tiny, Folder *folder) {
    WeightsReport report;
    Status status = STATUS_INIT;
    tiny_plan_place(tiny);
    tiny_plan_write_dense(tiny, folder, "dense");
    load(tiny, folder, "dense", &report, &status);
    expect_success(&status);
    return report;
}

static const float *slice_of(TinyPlan *tiny, TinyWeight weight, uint64_t expert) {
    return tiny_plan_values(tiny, MOEC_SPACE_WEIGHT, weight) + expert * SLICE;
}

/* ---- Upcycling ------------------------------------------------------------------------------------------------- */

static void every_expert_is_a_replica(void **state) {
    (void)state;
    Folder folder = folder_make();
    TinyPlan *tiny = tiny_plan_new();
    WeightsReport report = load_dense(tiny, &folder);
    assert_int_equal(report.layout, WEIGHTS_DENSE);
    assert_int_equal(report.n_unused, 0);
    assert_string_equal(report.renamed, "");
    assert_int_equal(report.n_bytes, 4 * (TINY_VOCAB * TINY_D + 3 * SLICE + TINY_D)); /* each tensor once */
    for (uint64_t e = 0; e < TINY_EXPERTS; e++) {
        for (uint64_t i = 0; i < SLICE; i++) {
            assert_true(slice_of(tiny, TINY_GATE, e)[i] == tiny_plan_dense_value(TINY_GATE, i));
            assert_true(slice_of(tiny, TINY_DOWN, e)[i] == tiny_plan_dense_value(TINY_DOWN, i));
        }
    }
    assert_true(tiny_plan_values(tiny, MOEC_SPACE_WEIGHT, TINY_EMBED)[7] == tiny_plan_dense_value(TINY_EMBED, 7));
    assert_true(tiny_plan_values(tiny, MOEC_SPACE_WEIGHT, TINY_NORM)[5] == tiny_plan_dense_value(TINY_NORM, 5));
    tiny_plan_free(tiny);
    folder_remove(&folder);
}

static void routers_are_drawn(void **state) {
    (void)state;
    Folder folder = folder_make();
    TinyPlan *tiny = tiny_plan_new();
    float normals[TINY_EXPERTS * TINY_D];
    RandomStream stream = random_stream_for(SEED, "init", "model.layers.0.mlp.gate.weight");
    load_dense(tiny, &folder);
    random_normal(&stream, 0, TINY_EXPERTS * TINY_D, normals);
    for (int i = 0; i < TINY_EXPERTS * TINY_D; i++)
        assert_true(tiny_plan_values(tiny, MOEC_SPACE_WEIGHT, TINY_ROUTER)[i] == (float)(0.02 * (double)normals[i]));
    tiny_plan_free(tiny);
    folder_remove(&folder);
}

static void tiled_routers_repeat_rows(void **state) {
    (void)state;
    Folder folder = folder_make();
    TinyPlan *tiny = tiny_plan_new();
    tiny->weights[TINY_ROUTER].tile = 2;
    load_dense(tiny, &folder);
    const float *router = tiny_plan_values(tiny, MOEC_SPACE_WEIGHT, TINY_ROUTER);
    assert_memory_equal(router, router + TINY_D, TINY_D * sizeof *router);
    assert_memory_equal(router + 2 * TINY_D, router + 3 * TINY_D, TINY_D * sizeof *router);
    assert_memory_not_equal(router, router + 2 * TINY_D, TINY_D * sizeof *router);
    tiny_plan_free(tiny);
    folder_remove(&folder);
}

/* Segments of dim 0 are runs of rows, of dim 1 parts of each row. */
static void experts_hold_segments(void **state) {
    (void)state;
    enum { SEGMENTS = 2, DENSE_FF = SEGMENTS * TINY_FF };
    Folder folder = folder_make();
    TinyPlan *tiny = tiny_plan_new();
    for (TinyWeight weight = TINY_GATE; weight <= TINY_DOWN; weight++) {
        tiny->weights[weight].segments = SEGMENTS;
        tiny->weights[weight].segment_dim = weight == TINY_DOWN ? 1 : 0;
    }
    tiny->weights[TINY_DOWN].scale = 2.0;
    load_dense(tiny, &folder);
    for (uint64_t e = 0; e < TINY_EXPERTS; e++) {
        uint64_t first = e % SEGMENTS * TINY_FF; /* hidden unit */
        for (uint64_t h = 0; h < TINY_FF; h++) {
            for (uint64_t d = 0; d < TINY_D; d++) {
                assert_true(slice_of(tiny, TINY_GATE, e)[h * TINY_D + d] ==
                            tiny_plan_dense_value(TINY_GATE, (first + h) * TINY_D + d));
                assert_true(slice_of(tiny, TINY_DOWN, e)[d * TINY_FF + h] ==
                            2 * tiny_plan_dense_value(TINY_DOWN, d * DENSE_FF + first + h));
            }
        }
    }
    tiny_plan_free(tiny);
    folder_remove(&folder);
}

static void noise_differs_between_experts(void **state) {
    (void)state;
    Folder folder = folder_make();
    TinyPlan *tiny = tiny_plan_new();
    float normals[TINY_EXPERTS * SLICE];
    tiny->weights[TINY_UP].noise = 0.125;
    load_dense(tiny, &folder);
    RandomStream stream = random_stream_for(SEED, "noise", tiny->weights[TINY_UP].name);
    random_normal(&stream, 0, TINY_EXPERTS * SLICE, normals);
    for (uint64_t i = 0; i < TINY_EXPERTS * SLICE; i++) {
        float expected = tiny_plan_dense_value(TINY_UP, i % SLICE) + (float)(0.125 * (double)normals[i]);
        assert_true(slice_of(tiny, TINY_UP, 0)[i] == expected);
    }
    tiny_plan_free(tiny);
    folder_remove(&folder);
}

/* ---- Drop-upcycling -------------------------------------------------------------------------------------------- */

/* Whether hidden unit h of the expert is not the dense one any more: the whole row of gate and up, column of down. */
static bool is_dropped(TinyPlan *tiny, TinyWeight weight, uint64_t e, uint64_t h) {
    bool is_column = weight == TINY_DOWN;
    uint64_t n_changed = 0;
    for (uint64_t d = 0; d < TINY_D; d++) {
        uint64_t at = is_column ? d * TINY_FF + h : h * TINY_D + d;
        n_changed += slice_of(tiny, weight, e)[at] != tiny_plan_dense_value(weight, at);
    }
    assert_true(n_changed == 0 || n_changed == TINY_D);
    return n_changed > 0;
}

static void set_drop(TinyPlan *tiny, double share) {
    for (TinyWeight weight = TINY_GATE; weight <= TINY_DOWN; weight++) {
        tiny->weights[weight].drop = share;
        tiny->weights[weight].drop_dim = weight == TINY_DOWN ? 1 : 0;
        tiny->weights[weight].drop_extent = TINY_FF;
        tiny->weights[weight].drop_key = "model.layers.0.mlp";
    }
}

static void the_same_columns_are_dropped_in_all_weights(void **state) {
    (void)state;
    Folder folder = folder_make();
    TinyPlan *tiny = tiny_plan_new();
    set_drop(tiny, 0.4); /* of 8: 3 */
    load_dense(tiny, &folder);
    unsigned patterns[TINY_EXPERTS] = {0};
    for (uint64_t e = 0; e < TINY_EXPERTS; e++) {
        for (uint64_t h = 0; h < TINY_FF; h++) {
            bool is_gone = is_dropped(tiny, TINY_GATE, e, h);
            assert_int_equal(is_dropped(tiny, TINY_UP, e, h), is_gone);
            assert_int_equal(is_dropped(tiny, TINY_DOWN, e, h), is_gone);
            patterns[e] |= is_gone ? 1u << h : 0;
        }
        assert_int_equal(__builtin_popcount(patterns[e]), 3);
    }
    assert_false(patterns[0] == patterns[1] && patterns[1] == patterns[2] && patterns[2] == patterns[3]);
    tiny_plan_free(tiny);
    folder_remove(&folder);
}

/* What is drawn has the mean and deviation of the whole dense tensor. */
static void dropped_columns_are_drawn_like_the_dense_tensor(void **state) {
    (void)state;
    Folder folder = folder_make();
    TinyPlan *tiny = tiny_plan_new();
    set_drop(tiny, 1.0);
    tiny->weights[TINY_UP].scale = 3.0;
    load_dense(tiny, &folder);
    RandomStream stream = random_stream_for(SEED, "redraw", tiny->weights[TINY_UP].name);
    float normals[TINY_EXPERTS * SLICE];
    random_normal(&stream, 0, TINY_EXPERTS * SLICE, normals);
    double mean = 0, squares = 0;
    for (uint64_t i = 0; i < SLICE; i++)
        mean += (double)tiny_plan_dense_value(TINY_UP, i) / SLICE;
    for (uint64_t i = 0; i < SLICE; i++)
        squares += pow((double)tiny_plan_dense_value(TINY_UP, i) - mean, 2) / SLICE;
    for (uint64_t i = 0; i < TINY_EXPERTS * SLICE; i++) {
        double expected = 3 * (mean + sqrt(squares) * (double)normals[i]);
        assert_true(fabs((double)slice_of(tiny, TINY_UP, 0)[i] - expected) < 1e-5);
    }
    tiny_plan_free(tiny);
    folder_remove(&folder);
}

/* ---- Any number of threads ------------------------------------------------------------------------------------- */

static void threads_do_not_change_a_bit(void **state) {
    (void)state;
    Folder folder = folder_make();
    TinyPlan *tiny[2];
    int n_threads = omp_get_max_threads();
    for (int i = 0; i < 2; i++) {
        tiny[i] = tiny_plan_new();
        tiny[i]->weights[TINY_EMBED].dims[0] = 100003; /* several pieces */
        tiny[i]->weights[TINY_EMBED].noise = 0.1;
        tiny[i]->weights[TINY_EMBED].drop = 0.3;
        omp_set_num_threads(i ? 3 : 1);
        load_dense(tiny[i], &folder);
    }
    omp_set_num_threads(n_threads);
    assert_true(tiny_plan_same(tiny[0], tiny[1]));
    tiny_plan_free(tiny[0]);
    tiny_plan_free(tiny[1]);
    folder_remove(&folder);
}

/* ---- Names ----------------------------------------------------------------------------------------------------- */

/* Writes tensors of F32 zeros; shapes as text. */
typedef struct {
    const char *name, *shape;
    size_t n;
} Zeros;

static void write_zeros(Folder *folder, const char *file, const Zeros *rows, size_t n) {
    static const float zeros[256];
    TestTensor tensors[32];
    for (size_t i = 0; i < n; i++)
        tensors[i] = (TestTensor){rows[i].name, "F32", rows[i].shape, zeros, rows[i].n * sizeof *zeros};
    tensors_write(folder, file, tensors, n);
}

static void a_prefix_may_be_missing(void **state) {
    (void)state;
    static const Zeros rows[] = {{"embed_tokens.weight", "[10, 6]", 60},
                                 {"layers.0.mlp.gate_proj.weight", "[8, 6]", 48},
                                 {"layers.0.mlp.up_proj.weight", "[8, 6]", 48},
                                 {"layers.0.mlp.down_proj.weight", "[6, 8]", 48},
                                 {"norm.weight", "[6]", 6}};
    Folder folder = folder_make();
    TinyPlan *tiny = tiny_plan_new();
    WeightsReport report;
    Status status = STATUS_INIT;
    tiny_plan_place(tiny);
    write_zeros(&folder, "m/model.safetensors", rows, 5);
    load(tiny, &folder, "m", &report, &status);
    expect_success(&status);
    assert_string_equal(report.renamed, "'model.' removed from names");
    tiny_plan_free(tiny);
    folder_remove(&folder);
}

static void a_prefix_may_be_added(void **state) {
    (void)state;
    static const Zeros rows[] = {{"transformer.model.embed_tokens.weight", "[10, 6]", 60},
                                 {"transformer.model.layers.0.mlp.gate_proj.weight", "[8, 6]", 48},
                                 {"transformer.model.layers.0.mlp.up_proj.weight", "[8, 6]", 48},
                                 {"transformer.model.layers.0.mlp.down_proj.weight", "[6, 8]", 48},
                                 {"model.norm.weight", "[6]", 6}};
    Folder folder = folder_make();
    TinyPlan *tiny = tiny_plan_new();
    WeightsReport report;
    Status status = STATUS_INIT;
    tiny_plan_place(tiny);
    write_zeros(&folder, "m/model.safetensors", rows, 5);
    load(tiny, &folder, "m", &report, &status);
    expect_success(&status);
    assert_string_equal(report.renamed, "'transformer.' added to names");
    tiny_plan_free(tiny);
    folder_remove(&folder);
}

static void all_that_is_wrong_is_told_at_once(void **state) {
    (void)state;
    static const Zeros rows[] = {{"model.embed_tokens.weight", "[6, 10]", 60},
                                 {"model.layers.0.mlp.gate_proj.weight", "[8, 6]", 48},
                                 {"model.layers.0.mlp.up_proj.weight", "[1, 8, 6]", 48},
                                 {"model.norm.weight", "[6]", 6}};
    Folder folder = folder_make();
    TinyPlan *tiny = tiny_plan_new();
    WeightsReport report;
    Status status = STATUS_INIT;
    tiny_plan_place(tiny);
    write_zeros(&folder, "m/model.safetensors", rows, 4);
    assert_false(load(tiny, &folder, "m", &report, &status));
    expect_failure(&status, STATUS_INPUT, "/m: 3 tensors are not what the program needs:",
                   "\n  model.embed_tokens.weight has shape [6, 10], expected [10, 6] (tiny.moe:3:3)",
                   "\n  model.layers.0.mlp.up_proj.weight has shape [1, 8, 6], expected [8, 6] (tiny.moe:6:3)",
                   "\n  model.layers.0.mlp.down_proj.weight is missing, expected shape [6, 8] (tiny.moe:7:3)",
                   "give the checkpoint that the .moe describes");
    tiny_plan_free(tiny);
    folder_remove(&folder);
}

static void a_dtype_that_cannot_be_read_is_named(void **state) {
    (void)state;
    static const char zeros[600];
    const TestTensor tensors[] = {{"model.embed_tokens.weight", "F8_E4M3", "[10, 6]", zeros, 60},
                                  {"model.layers.0.mlp.gate_proj.weight", "BF16", "[8, 6]", zeros, 96},
                                  {"model.layers.0.mlp.up_proj.weight", "F16", "[8, 6]", zeros, 96},
                                  {"model.layers.0.mlp.down_proj.weight", "F64", "[6, 8]", zeros, 384},
                                  {"model.norm.weight", "F32", "[6]", zeros, 24}};
    Folder folder = folder_make();
    TinyPlan *tiny = tiny_plan_new();
    WeightsReport report;
    Status status = STATUS_INIT;
    tiny_plan_place(tiny);
    tensors_write(&folder, "m/model.safetensors", tensors, 5);
    assert_false(load(tiny, &folder, "m", &report, &status));
    expect_failure(&status, STATUS_INPUT, "2 tensors are not",
                   "model.embed_tokens.weight is F8_E4M3, expected F32, F16 or BF16",
                   "model.layers.0.mlp.down_proj.weight is F64, expected");
    tiny_plan_free(tiny);
    folder_remove(&folder);
}

static void a_wrong_model_is_told_by_its_config_first(void **state) {
    (void)state;
    Folder folder = folder_make();
    TinyPlan *tiny = tiny_plan_new();
    WeightsReport report;
    Status status = STATUS_INIT;
    tiny_plan_place(tiny);
    write_zeros(&folder, "m/model.safetensors", NULL, 0);
    folder_write_text(&folder, "m/config.json", "{\"hidden_size\": 7}");
    assert_false(load(tiny, &folder, "m", &report, &status));
    expect_failure(&status, STATUS_INPUT, "m/config.json: not the model", "\"hidden_size\" is 7, expected 6");
    tiny_plan_free(tiny);
    folder_remove(&folder);
}

static void tensors_that_nothing_reads_are_named(void **state) {
    (void)state;
    static const Zeros rows[] = {{"model.embed_tokens.weight", "[10, 6]", 60},
                                 {"model.layers.0.mlp.gate_proj.weight", "[8, 6]", 48},
                                 {"model.layers.0.mlp.up_proj.weight", "[8, 6]", 48},
                                 {"model.layers.0.mlp.down_proj.weight", "[6, 8]", 48},
                                 {"model.layers.0.mlp.up_proj.bias", "[8]", 8},
                                 {"model.layers.0.self_attn.rotary_emb.inv_freq", "[8]", 8},
                                 {"lm_head.weight", "[10, 6]", 60},
                                 {"model.norm.weight", "[6]", 6}};
    Folder folder = folder_make();
    TinyPlan *tiny = tiny_plan_new();
    WeightsReport report;
    Status status = STATUS_INIT;
    tiny_plan_place(tiny);
    write_zeros(&folder, "m/model.safetensors", rows, 8);
    folder_write_text(&folder, "m/config.json", "{\"tie_word_embeddings\": true}");
    load(tiny, &folder, "m", &report, &status);
    expect_success(&status);
    assert_int_equal(report.n_unused, 1);
    assert_non_null(strstr(report.warning, "1 tensor is not used: model.layers.0.mlp.up_proj.bias"));
    folder_write_text(&folder, "m/config.json", "{}");
    load(tiny, &folder, "m", &report, &status);
    expect_success(&status);
    assert_int_equal(report.n_unused, 2);
    assert_non_null(strstr(report.warning, "2 tensors are not used: lm_head.weight, model.layers.0.mlp.up_proj.bias"));
    tiny_plan_free(tiny);
    folder_remove(&folder);
}

/* ---- Fused experts --------------------------------------------------------------------------------------------- */

/* As transformers 5 holds them: [E, 2 ff, d], the gate's rows before up's. */
static void fused_experts_are_taken_apart(void **state) {
    (void)state;
    static float joined[TINY_EXPERTS][2][SLICE], down[TINY_EXPERTS][SLICE], router[TINY_EXPERTS * TINY_D], rest[60];
    const TestTensor tensors[] = {
        {"model.embed_tokens.weight", "F32", "[10, 6]", rest, 240},
        {"model.layers.0.mlp.gate.weight", "F32", "[4, 6]", router, sizeof router},
        {"model.layers.0.mlp.experts.gate_up_proj", "F32", "[4, 16, 6]", joined, sizeof joined},
        {"model.layers.0.mlp.experts.down_proj", "F32", "[4, 6, 8]", down, sizeof down},
        {"model.norm.weight", "F32", "[6]", rest, 24}};
    for (int e = 0; e < TINY_EXPERTS; e++) {
        for (int i = 0; i < SLICE; i++) {
            joined[e][0][i] = (float)(1000 * e + i);
            joined[e][1][i] = (float)(1000 * e + i) + 0.5f;
            down[e][i] = (float)(-1000 * e - i);
        }
    }
    for (int i = 0; i < TINY_EXPERTS * TINY_D; i++)
        router[i] = (float)i;
    Folder folder = folder_make();
    TinyPlan *tiny = tiny_plan_new();
    WeightsReport report;
    Status status = STATUS_INIT;
    tiny_plan_place(tiny);
    tensors_write(&folder, "m/model.safetensors", tensors, 5);
    load(tiny, &folder, "m", &report, &status);
    expect_success(&status);
    assert_int_equal(report.layout, WEIGHTS_EXPORTED);
    assert_true(report.is_fused);
    for (uint64_t e = 0; e < TINY_EXPERTS; e++) {
        assert_memory_equal(slice_of(tiny, TINY_GATE, e), joined[e][0], sizeof joined[e][0]);
        assert_memory_equal(slice_of(tiny, TINY_UP, e), joined[e][1], sizeof joined[e][1]);
        assert_memory_equal(slice_of(tiny, TINY_DOWN, e), down[e], sizeof down[e]);
    }
    assert_memory_equal(tiny_plan_values(tiny, MOEC_SPACE_WEIGHT, TINY_ROUTER), router, sizeof router);
    tiny_plan_free(tiny);
    folder_remove(&folder);
}

/* ---- Passing through -------------------------------------------------------------------------------------------- */

/* Weights go to a twin of the space, and nothing stays of them. */
typedef struct {
    Passage passage;
    const char *space;
    char *twin;
    uint64_t n_bytes; /* that were put */
} Twin;

static bool put_in_twin(Passage *passage, void *at, uint64_t n_bytes, const char *name, Status *status) {
    Twin *self = (Twin *)(void *)passage;
    (void)name, (void)status;
    memcpy(self->twin + ((const char *)at - self->space), at, n_bytes);
    memset(at, 0xFF, n_bytes);
    self->n_bytes += n_bytes;
    return true;
}

/* Replicas, some with noise, others with dropped columns, and a router that is drawn: each is put once, when it is
   whole. */
static void weights_that_pass_through_are_put_once(void **state) {
    (void)state;
    Folder folder = folder_make();
    TinyPlan *tiny = tiny_plan_new();
    set_drop(tiny, 0.4);
    tiny->weights[TINY_EMBED].noise = 0.125;
    load_dense(tiny, &folder);
    uint64_t n_bytes = 0;
    for (int i = 0; i < (int)tiny->plan.n_weights; i++) {
        uint64_t n = 4;
        for (int j = 0; j < tiny->weights[i].rank; j++)
            n *= (uint64_t)tiny->weights[i].dims[j];
        n_bytes += n;
    }
    size_t n_space = (size_t)tiny->plan.space_bytes[MOEC_SPACE_WEIGHT];
    char *expected = malloc(n_space), *bytes = tiny->spaces[MOEC_SPACE_WEIGHT];
    memcpy(expected, bytes, n_space);
    Twin twin = {.passage = {.put = put_in_twin}, .space = bytes, .twin = malloc(n_space)};
    memcpy(twin.twin, expected, n_space); /* what is between weights */
    for (int i = 0; i < (int)tiny->plan.n_weights; i++)
        memset(twin.twin + tiny->weights[i].offset, 0, 4);
    ModelDir dir;
    WeightsReport report;
    Status status = STATUS_INIT;
    model_dir_open(&dir, folder_path(&folder, "dense"), &status);
    weights_load(&tiny->plan, &dir, SEED, bytes, &twin.passage, NULL, &report, &status);
    model_dir_close(&dir);
    expect_success(&status);
    assert_int_equal(twin.n_bytes, n_bytes);
    assert_memory_equal(twin.twin, expected, n_space);
    free(twin.twin);
    free(expected);
    tiny_plan_free(tiny);
    folder_remove(&folder);
}

/* ---- Without a checkpoint, and resuming ------------------------------------------------------------------------ */

static void without_a_checkpoint_weights_follow_their_init(void **state) {
    (void)state;
    TinyPlan *tiny = tiny_plan_new();
    tiny->weights[TINY_UP].init = "zeros";
    tiny->weights[TINY_EMBED].std = 0.5;
    tiny->weights[TINY_EMBED].scale = 4.0; /* of dense values: there are none */
    tiny_plan_place(tiny);
    memset(tiny->spaces[MOEC_SPACE_WEIGHT], 0xFF, tiny->plan.space_bytes[MOEC_SPACE_WEIGHT]);
    Status status = STATUS_INIT;
    assert_true(weights_initialise(&tiny->plan, SEED, tiny->spaces[MOEC_SPACE_WEIGHT], NULL, &status));
    double squares = 0;
    for (int i = 0; i < TINY_VOCAB * TINY_D; i++)
        squares += pow((double)tiny_plan_values(tiny, MOEC_SPACE_WEIGHT, TINY_EMBED)[i], 2) / (TINY_VOCAB * TINY_D);
    assert_true(sqrt(squares) > 0.35 && sqrt(squares) < 0.65);
    assert_true(tiny_plan_values(tiny, MOEC_SPACE_WEIGHT, TINY_NORM)[3] == 1.0f);
    assert_true(slice_of(tiny, TINY_UP, 3)[SLICE - 1] == 0.0f);
    tiny_plan_free(tiny);
}

/* Resuming from rounded weights would not be going on: it is refused, and so is a dense checkpoint. */
static void resuming_takes_exports_in_f32_only(void **state) {
    (void)state;
    Folder folder = folder_make();
    TinyPlan *tiny = tiny_plan_new();
    ModelDir dir;
    Status status = STATUS_INIT;
    tiny_plan_place(tiny);
    tiny_plan_write_dense(tiny, &folder, "dense");
    assert_true(model_dir_open(&dir, folder_path(&folder, "dense"), &status));
    assert_false(weights_reload(&tiny->plan, &dir, tiny->spaces[MOEC_SPACE_WEIGHT], NULL, NULL, &status));
    expect_failure(&status, STATUS_INPUT, "13 tensors are not what the program needs",
                   "model.layers.0.block_sparse_moe.experts.0.w1.weight is missing");
    model_dir_close(&dir);
    tiny_plan_free(tiny);
    folder_remove(&folder);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_expert_is_a_replica),
        cmocka_unit_test(routers_are_drawn),
        cmocka_unit_test(tiled_routers_repeat_rows),
        cmocka_unit_test(experts_hold_segments),
        cmocka_unit_test(noise_differs_between_experts),
        cmocka_unit_test(weights_that_pass_through_are_put_once),
        cmocka_unit_test(the_same_columns_are_dropped_in_all_weights),
        cmocka_unit_test(dropped_columns_are_drawn_like_the_dense_tensor),
        cmocka_unit_test(threads_do_not_change_a_bit),
        cmocka_unit_test(a_prefix_may_be_missing),
        cmocka_unit_test(a_prefix_may_be_added),
        cmocka_unit_test(all_that_is_wrong_is_told_at_once),
        cmocka_unit_test(a_dtype_that_cannot_be_read_is_named),
        cmocka_unit_test(a_wrong_model_is_told_by_its_config_first),
        cmocka_unit_test(tensors_that_nothing_reads_are_named),
        cmocka_unit_test(fused_experts_are_taken_apart),
        cmocka_unit_test(without_a_checkpoint_weights_follow_their_init),
        cmocka_unit_test(resuming_takes_exports_in_f32_only),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
