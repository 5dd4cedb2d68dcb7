#include "tests/support_runtime/tiny_plan.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "runtime/random.h"
#include "tests/support_runtime/tensors.h"

static const MoecWeight tiny_weights[TINY_WEIGHTS] = {
    [TINY_EMBED] = {.name = "model.embed_tokens.weight",
                    .rank = 2,
                    .dims = {TINY_VOCAB, TINY_D},
                    .source = "model.embed_tokens.weight",
                    .decay = true,
                    .where = "tiny.moe:3:3"},
    [TINY_ROUTER] = {.name = "model.layers.0.mlp.gate.weight",
                     .rank = 2,
                     .dims = {TINY_EXPERTS, TINY_D},
                     .init = "normal",
                     .std = 0.02,
                     .export_name = "model.layers.0.block_sparse_moe.gate.weight",
                     .where = "tiny.moe:9:1"},
    [TINY_GATE] = {.name = "model.layers.0.mlp.gate_proj.weight",
                   .rank = 3,
                   .dims = {TINY_EXPERTS, TINY_FF, TINY_D},
                   .source = "model.layers.0.mlp.gate_proj.weight",
                   .experts = TINY_EXPERTS,
                   .export_name = "model.layers.0.block_sparse_moe.experts.{e}.w1.weight",
                   .where = "tiny.moe:5:3"},
    [TINY_UP] = {.name = "model.layers.0.mlp.up_proj.weight",
                 .rank = 3,
                 .dims = {TINY_EXPERTS, TINY_FF, TINY_D},
                 .source = "model.layers.0.mlp.up_proj.weight",
                 .experts = TINY_EXPERTS,
                 .export_name = "model.layers.0.block_sparse_moe.experts.{e}.w3.weight",
                 .where = "tiny.moe:6:3"},
    [TINY_DOWN] = {.name = "model.layers.0.mlp.down_proj.weight",
                   .rank = 3,
                   .dims = {TINY_EXPERTS, TINY_D, TINY_FF},
                   .source = "model.layers.0.mlp.down_proj.weight",
                   .experts = TINY_EXPERTS,
                   .export_name = "model.layers.0.block_sparse_moe.experts.{e}.w2.weight",
                   .where = "tiny.moe:7:3"},
    [TINY_NORM] = {.name = "model.norm.weight",
                   .rank = 1,
                   .dims = {TINY_D},
                   .source = "model.norm.weight",
                   .init = "ones",
                   .export_name = "model.norm.weight",
                   .where = "tiny.moe:4:3"},
};

static const MoecConfigValue dense_config[] = {
    {"model_type", "\"llama\"", "tiny.moe:20:3"},
    {"hidden_size", "6", "tiny.moe:21:3"},
    {"rms_norm_eps", "1e-05", "tiny.moe:22:3"},
    {"rope_theta", "10000.0", "tiny.moe:23:3"},
};

static const MoecConfigValue export_config[] = {
    {"model_type", "\"mixtral\"", "tiny.moe:30:3"},
    {"num_local_experts", "4", "tiny.moe:31:3"},
    {"num_experts_per_tok", "2", "tiny.moe:32:3"},
};

const char tiny_plan_dense_config[] = "{\"model_type\": \"llama\", \"hidden_size\": 6, \"rms_norm_eps\": 1e-05, "
                                      "\"rope_theta\": 10000.0, \"eos_token_id\": 2}";

TinyPlan *tiny_plan_new(void) {
    TinyPlan *tiny = calloc(1, sizeof *tiny);
    assert_non_null(tiny);
    memcpy(tiny->weights, tiny_weights, sizeof tiny_weights);
    tiny->plan = (MoecPlan){
        .version = MOEC_PLAN_VERSION,
        .model = "tiny_e4t2",
        .hash = "0123456789abcdef",
        .is_moe = true,
        .vocab = TINY_VOCAB,
        .n_experts = TINY_EXPERTS,
        .top_k = 2,
        .n_moe_layers = 1,
        .weights = tiny->weights,
        .n_weights = TINY_WEIGHTS,
        .dense_config = dense_config,
        .n_dense_config = sizeof dense_config / sizeof *dense_config,
        .export_config = export_config,
        .n_export_config = sizeof export_config / sizeof *export_config,
    };
    return tiny;
}

uint64_t tiny_plan_elements(const TinyPlan *tiny, TinyWeight weight) {
    uint64_t n = 1;
    for (int i = 0; i < tiny->weights[weight].rank; i++)
        n *= (uint64_t)tiny->weights[weight].dims[i];
    return n;
}

void tiny_plan_place(TinyPlan *tiny) {
    uint64_t end = 0;
    for (TinyWeight weight = 0; weight < TINY_WEIGHTS; weight++) {
        tiny->weights[weight].offset = end;
        tiny->weights[weight].gradient = (MoecAddress){MOEC_SPACE_GRAD, end};
        end += (tiny_plan_elements(tiny, weight) * sizeof(float) + 63) / 64 * 64;
    }
    for (int space = 0; space < MOEC_SPACE_COUNT; space++) {
        tiny->plan.space_bytes[space] = space == MOEC_SPACE_ARENA ? 0 : end;
        tiny->spaces[space] = calloc(1, end);
        assert_non_null(tiny->spaces[space]);
    }
}

void tiny_plan_free(TinyPlan *tiny) {
    for (int space = 0; space < MOEC_SPACE_COUNT; space++)
        free(tiny->spaces[space]);
    free(tiny);
}

float *tiny_plan_values(TinyPlan *tiny, MoecSpace space, TinyWeight weight) {
    return (float *)(void *)((char *)tiny->spaces[space] + tiny->weights[weight].offset);
}

static const MoecSpace saved_spaces[] = {MOEC_SPACE_WEIGHT, MOEC_SPACE_MOMENT1, MOEC_SPACE_MOMENT2};
enum { N_SAVED_SPACES = sizeof saved_spaces / sizeof *saved_spaces };

void tiny_plan_fill(TinyPlan *tiny, uint64_t seed) {
    for (int s = 0; s < N_SAVED_SPACES; s++) {
        for (TinyWeight weight = 0; weight < TINY_WEIGHTS; weight++) {
            RandomStream stream = random_stream_for(seed + (uint64_t)s, "fill", tiny->weights[weight].name);
            float *values = tiny_plan_values(tiny, saved_spaces[s], weight);
            for (uint64_t i = 0; i < tiny_plan_elements(tiny, weight); i++) {
                uint32_t bits = (uint32_t)random_bits(&stream, i);
                memcpy(&values[i], &bits, sizeof bits);
            }
        }
    }
}

bool tiny_plan_same(const TinyPlan *a, const TinyPlan *b) {
    bool is_same = true;
    for (int s = 0; s < N_SAVED_SPACES; s++) {
        MoecSpace space = saved_spaces[s];
        is_same = is_same && memcmp(a->spaces[space], b->spaces[space], a->plan.space_bytes[space]) == 0;
    }
    return is_same;
}

/* ---- The dense checkpoint -------------------------------------------------------------------------------------- */

float tiny_plan_dense_value(TinyWeight weight, uint64_t i) {
    return (float)weight + (float)i / 1024.0f;
}

/* The dense tensor of a weight, whose values and shape the caller frees. */
static TestTensor dense_tensor(const TinyPlan *tiny, TinyWeight weight) {
    const MoecWeight *row = &tiny->weights[weight];
    bool is_expert = row->experts > 0;
    uint64_t n = 1;
    char *shape, *separator = "[";
    size_t n_shape;
    FILE *out = open_memstream(&shape, &n_shape);
    assert_non_null(out);
    for (int i = is_expert; i < row->rank; i++) {
        bool is_cut = row->segments > 1 && i - is_expert == row->segment_dim;
        int64_t extent = row->dims[i] * (is_cut ? row->segments : 1);
        fprintf(out, "%s%d", separator, (int)extent);
        separator = ", ";
        n *= (uint64_t)extent;
    }
    fputc(']', out);
    fclose(out);
    float *values = malloc(n * sizeof *values);
    assert_non_null(values);
    for (uint64_t i = 0; i < n; i++)
        values[i] = tiny_plan_dense_value(weight, i);
    return (TestTensor){row->source, "F32", shape, values, n * sizeof *values};
}

void tiny_plan_write_dense(const TinyPlan *tiny, Folder *folder, const char *name) {
    TestTensor tensors[TINY_WEIGHTS];
    char file[64];
    size_t n = 0;
    for (TinyWeight weight = 0; weight < TINY_WEIGHTS; weight++) {
        if (tiny->weights[weight].source)
            tensors[n++] = dense_tensor(tiny, weight);
    }
    snprintf(file, sizeof file, "%s/model.safetensors", name);
    tensors_write(folder, file, tensors, n);
    snprintf(file, sizeof file, "%s/config.json", name);
    folder_write_text(folder, file, tiny_plan_dense_config);
    for (size_t i = 0; i < n; i++) {
        free((char *)tensors[i].shape);
        free((void *)tensors[i].bytes);
    }
}
