// REQUIRES: fuzz
// RUN: %fuzz %s
/* Any text as config.json: refused, or compared, exported and printed; what is printed reads back the same. */
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "runtime/model_config.h"

static const MoecConfigValue dense_values[] = {
    {"model_type", "\"llama\"", "m.moe:1:1"},
    {"hidden_size", "64", "m.moe:2:1"},
    {"head_dim", "16", "m.moe:3:1"},
    {"rope_theta", "500000.0", "m.moe:4:1"},
    {"rope_scaling", "{\"rope_type\": \"llama3\", \"factor\": 8.0}", "m.moe:5:1"},
};

static const MoecConfigValue export_values[] = {
    {"model_type", "\"mixtral\"", "m.moe:6:1"},
    {"num_local_experts", "8", "m.moe:7:1"},
};

static const MoecPlan plan = {.dense_config = dense_values,
                              .n_dense_config = sizeof dense_values / sizeof *dense_values,
                              .export_config = export_values,
                              .n_export_config = sizeof export_values / sizeof *export_values};

static void check_printing(const json_t *value) {
    Status status = STATUS_INIT;
    char *text = json_print(value), *line = json_print_line(value);
    assert(text && line);
    json_t *again = json_parse(text, strlen(text), "printed", &status);
    assert(again && json_same(value, again));
    json_decref(again);
    free(text);
    free(line);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    Status status = STATUS_INIT;
    json_t *config = json_parse((const char *)data, size, "fuzz", &status);
    if (!config)
        return 0;
    check_printing(config);
    if (json_is_object(config)) {
        model_config_check(&plan, config, "config.json", false, &status);
        status = STATUS_INIT;
        model_config_check(&plan, config, "config.json", true, &status);
        status = STATUS_INIT;
        json_t *exported = model_config_export(&plan, config, "float32", &status);
        assert(exported);
        check_printing(exported);
        json_decref(exported);
    }
    json_decref(config);
    return 0;
}
