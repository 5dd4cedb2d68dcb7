// RUN: %unit %s
/* config.json: which differences matter, how they are told, and what an export says. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "runtime/model_config.h"
#include "tests/support_runtime/folder.h"

static const MoecConfigValue dense_values[] = {
    {"architectures", "[\"LlamaForCausalLM\"]", "m.moe:1:1"},
    {"model_type", "\"llama\"", "m.moe:1:1"},
    {"hidden_size", "64", "m.moe:2:1"},
    {"rms_norm_eps", "1e-05", "m.moe:3:1"},
    {"head_dim", "16", "m.moe:4:1"},
    {"rope_theta", "500000.0", "m.moe:5:1"},
    {"rope_scaling", "{\"rope_type\": \"llama3\", \"factor\": 8.0}", "m.moe:6:1"},
};

static const MoecConfigValue export_values[] = {
    {"model_type", "\"mixtral\"", "m.moe:10:1"},
    {"num_local_experts", "8", "m.moe:11:1"},
    {"num_experts_per_tok", "2", "m.moe:12:1"},
    {"router_aux_loss_coef", "0.01", "m.moe:13:1"},
};

static const MoecPlan plan = {.dense_config = dense_values,
                              .n_dense_config = sizeof dense_values / sizeof *dense_values,
                              .export_config = export_values,
                              .n_export_config = sizeof export_values / sizeof *export_values};

static bool check(const char *text, bool is_export, Status *status) {
    json_t *config = json_parse(text, strlen(text), "test", status);
    expect_success(status);
    bool is_good = model_config_check(&plan, config, "d/config.json", is_export, status);
    json_decref(config);
    return is_good;
}

static void expect_accepted(const char *text, bool is_export) {
    Status status = STATUS_INIT;
    check(text, is_export, &status);
    expect_success(&status);
}

#define expect_refused(text, is_export, ...)                                                                           \
    do {                                                                                                               \
        Status status = STATUS_INIT;                                                                                   \
        assert_false(check(text, is_export, &status));                                                                 \
        expect_failure(&status, STATUS_INPUT, "d/config.json", __VA_ARGS__);                                           \
    } while (0)

/* ---- Checking -------------------------------------------------------------------------------------------------- */

static void what_is_not_said_agrees(void **state) {
    (void)state;
    expect_accepted("{}", false);
    expect_accepted("{\"model_type\": \"llama\", \"bos_token_id\": 1, \"torch_dtype\": \"bfloat16\"}", false);
}

static void numbers_are_equal_by_value(void **state) {
    (void)state;
    expect_accepted("{\"hidden_size\": 64.0, \"rope_theta\": 500000}", false);
    expect_accepted("{\"rms_norm_eps\": 9.999999747378752e-06}", false); /* 1e-5 by way of 32 bits */
    expect_refused("{\"rms_norm_eps\": 1.0001e-05}", false,
                   "\"rms_norm_eps\" is 1.0001e-05, expected 1e-05 (m.moe:3:1)");
}

/* Saved without its head, a Llama is a LlamaModel. */
static void the_class_does_not_matter(void **state) {
    (void)state;
    expect_accepted("{\"architectures\": [\"LlamaModel\"], \"model_type\": \"llama\"}", false);
}

static void another_value_is_refused_with_its_place(void **state) {
    (void)state;
    expect_refused("{\"hidden_size\": 128}", false, "not the model that this program was compiled for",
                   "\n  \"hidden_size\" is 128, expected 64 (m.moe:2:1)", "change the .moe and build again");
    expect_refused("{\"model_type\": \"gpt2\"}", false, "\"model_type\" is \"gpt2\", expected \"llama\"");
}

static void no_more_than_four_differences_are_listed(void **state) {
    (void)state;
    expect_refused("{\"model_type\": 1, \"hidden_size\": 1, \"rms_norm_eps\": 1, \"head_dim\": 1, \"rope_theta\": 1, "
                   "\"rope_scaling\": 1}",
                   false, "\"head_dim\" is 1", "and 2 more");
}

static void a_null_head_dim_is_not_given(void **state) {
    (void)state;
    expect_accepted("{\"head_dim\": null}", false);
    expect_refused("{\"head_dim\": 32}", false, "\"head_dim\" is 32, expected 16");
}

static void both_spellings_of_rope_are_known(void **state) {
    (void)state;
    expect_accepted("{\"rope_theta\": 500000.0, \"rope_scaling\": {\"type\": \"llama3\", \"factor\": 8}}", false);
    expect_accepted("{\"rope_parameters\": {\"rope_theta\": 500000.0, \"rope_type\": \"llama3\", \"factor\": 8.0}}",
                    false);
    expect_refused("{\"rope_parameters\": {\"rope_theta\": 10000.0, \"rope_type\": \"llama3\", \"factor\": 8.0}}",
                   false, "\"rope_theta\" is 10000.0, expected 500000.0");
    expect_refused("{\"rope_parameters\": {\"rope_theta\": 500000.0, \"rope_type\": \"default\"}}", false,
                   "\"rope_scaling\" is null");
    expect_refused("{\"rope_scaling\": null}", false, "\"rope_scaling\" is null, expected {\"rope_type\"");
}

static void quantized_weights_are_refused(void **state) {
    (void)state;
    expect_refused("{\"quantization_config\": {\"bits\": 4}}", false, "has \"quantization_config\"");
    expect_accepted("{\"quantization_config\": null}", false);
}

static void of_an_export_routing_must_agree(void **state) {
    (void)state;
    expect_accepted("{\"model_type\": \"mixtral\", \"num_local_experts\": 8, \"router_aux_loss_coef\": 0.5}", true);
    expect_refused("{\"num_local_experts\": 4}", true, "\"num_local_experts\" is 4, expected 8 (m.moe:11:1)");
    expect_refused("{\"num_experts_per_tok\": 1}", true, "\"num_experts_per_tok\" is 1, expected 2");
    expect_refused("{\"hidden_size\": 32}", true, "\"hidden_size\" is 32, expected 64");
    expect_refused("{\"model_type\": \"mixtral\"}", false, "\"model_type\" is \"mixtral\", expected \"llama\"");
}

/* ---- Exporting ------------------------------------------------------------------------------------------------- */

static void an_export_overlays_the_dense_config(void **state) {
    (void)state;
    static const char dense[] =
        "{\"model_type\": \"llama\", \"bos_token_id\": 1, \"rope_theta\": 500000.0, \"dtype\": \"x\"}";
    Status status = STATUS_INIT;
    json_t *config = json_parse(dense, strlen(dense), "dense", &status);
    json_t *exported = model_config_export(&plan, config, "bfloat16", &status);
    expect_success(&status);
    char *text = json_print_line(exported);
    assert_string_equal(text,
                        "{\"model_type\": \"mixtral\", \"bos_token_id\": 1, \"rope_theta\": 500000.0, \"dtype\": "
                        "\"bfloat16\", \"architectures\": [\"LlamaForCausalLM\"], \"hidden_size\": 64, "
                        "\"rms_norm_eps\": 1e-05, \"head_dim\": 16, "
                        "\"rope_scaling\": {\"rope_type\": \"llama3\", \"factor\": 8.0}, \"num_local_experts\": 8, "
                        "\"num_experts_per_tok\": 2, \"router_aux_loss_coef\": 0.01, \"torch_dtype\": \"bfloat16\"}");
    assert_string_equal(json_string_value(json_object_get(config, "model_type")), "llama"); /* not touched */
    free(text);
    json_decref(config);
    json_decref(exported);
}

static void an_export_without_a_dense_config_is_complete(void **state) {
    (void)state;
    Status status = STATUS_INIT;
    json_t *exported = model_config_export(&plan, NULL, "float32", &status);
    expect_success(&status);
    assert_int_equal(json_integer_value(json_object_get(exported, "hidden_size")), 64);
    assert_string_equal(json_string_value(json_object_get(exported, "model_type")), "mixtral");
    /* What is exported is accepted as an export. */
    assert_true(model_config_check(&plan, exported, "d/config.json", true, &status));
    json_decref(exported);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_not_said_agrees),
        cmocka_unit_test(numbers_are_equal_by_value),
        cmocka_unit_test(the_class_does_not_matter),
        cmocka_unit_test(another_value_is_refused_with_its_place),
        cmocka_unit_test(no_more_than_four_differences_are_listed),
        cmocka_unit_test(a_null_head_dim_is_not_given),
        cmocka_unit_test(both_spellings_of_rope_are_known),
        cmocka_unit_test(quantized_weights_are_refused),
        cmocka_unit_test(of_an_export_routing_must_agree),
        cmocka_unit_test(an_export_overlays_the_dense_config),
        cmocka_unit_test(an_export_without_a_dense_config_is_complete),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
