#include "runtime/model_config.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- One spelling ---------------------------------------------------------------------------------------------- */

static bool is_listed(const char *key, const char *const *keys) {
    while (*keys && strcmp(key, *keys) != 0)
        keys++;
    return *keys;
}

/* transformers 5 writes {"rope_parameters": {"rope_theta": .., "rope_type": .., ..}}, where version 4 has "rope_theta"
   and "rope_scaling" (null for the plain kind); version 5 reads both, and prefers the older keys. Turns the first into
   the second. Parameters by kind of layer, an object in the object, have no older spelling and stay. False when out of
   memory. */
static bool spell_rope_apart(json_t *config) {
    json_t *parameters = json_object_get(config, "rope_parameters");
    const json_t *theta = json_object_get(parameters, "rope_theta");
    if (!theta)
        return true;
    json_t *scaling = json_copy(parameters);
    if (!scaling || json_object_del(scaling, "rope_theta") != 0) {
        json_decref(scaling);
        return false;
    }
    const char *type = json_string_value(json_object_get(scaling, "rope_type"));
    bool is_plain = json_object_size(scaling) == (type ? 1 : 0) && (!type || strcmp(type, "default") == 0);
    bool is_set = true;
    if (!json_object_get(config, "rope_theta"))
        is_set = json_object_set(config, "rope_theta", (json_t *)theta) == 0;
    if (!json_is_object(json_object_get(config, "rope_scaling")))
        is_set =
            json_object_set_new(config, "rope_scaling", is_plain ? json_null() : json_incref(scaling)) == 0 && is_set;
    json_decref(scaling);
    return is_set && json_object_del(config, "rope_parameters") == 0;
}

/* {"type": ..} is an older {"rope_type": ..}. NULL when out of memory; the caller owns the reference. */
static json_t *spell_scaling(const json_t *scaling) {
    json_t *copy = json_copy((json_t *)scaling);
    json_t *type = json_object_get(copy, "type");
    if (type && ((!json_object_get(copy, "rope_type") && json_object_set(copy, "rope_type", type) != 0) ||
                 json_object_del(copy, "type") != 0)) {
        json_decref(copy);
        return NULL;
    }
    return copy;
}

/* Adds what the plan says to `config`. */
static bool add_values(json_t *config, const MoecConfigValue *values, uint32_t n, Status *status) {
    for (uint32_t i = 0; i < n; i++) {
        json_t *value = json_parse(values[i].json, strlen(values[i].json), values[i].where, status);
        if (!value)
            return false;
        if (json_object_set_new(config, values[i].key, value) != 0)
            return status_fail(status, STATUS_SYSTEM, "out of memory for config.json");
    }
    return true;
}

/* The plan's values as an object, rope spelled apart; NULL after a failure. */
static json_t *plan_values(const MoecConfigValue *values, uint32_t n, Status *status) {
    json_t *config = json_object();
    if (!config || !add_values(config, values, n, status) || !spell_rope_apart(config)) {
        status_fail(status, STATUS_SYSTEM, "out of memory for config.json");
        json_decref(config);
        return NULL;
    }
    return config;
}

static json_t *copy_values(const json_t *config, Status *status) {
    json_t *copy = config ? json_copy((json_t *)config) : json_object();
    if (!copy || !spell_rope_apart(copy)) {
        status_fail(status, STATUS_SYSTEM, "out of memory for config.json");
        json_decref(copy);
        return NULL;
    }
    return copy;
}

/* ---- Checking -------------------------------------------------------------------------------------------------- */

/* How values are stored, and in which class: the model without its head is saved under another, with other prefixes of
   names. The program does not depend on them. */
static const char *const ignored_keys[] = {"architectures", "dtype", "torch_dtype", "transformers_version", NULL};

/* Keys of exports that say how tokens are routed, and to what. */
static const char *const routing_keys[] = {
    "num_local_experts", "num_experts", "n_routed_experts", "num_experts_per_tok", "n_shared_experts",
    "norm_topk_prob",    NULL,
};

/* Files converted by way of f32 have 9.99999974e-06 for 1e-5. */
static bool same_as_float(const json_t *a, const json_t *b) {
    return (json_is_real(a) || json_is_real(b)) && json_is_number(a) && json_is_number(b) &&
           (float)json_number_value(a) == (float)json_number_value(b);
}

static bool same_value(const char *key, const json_t *found, const json_t *expected) {
    if (strcmp(key, "rope_scaling") != 0)
        return json_same(found, expected) || same_as_float(found, expected);
    json_t *found_scaling = spell_scaling(found), *expected_scaling = spell_scaling(expected);
    bool is_same = found_scaling && expected_scaling && json_same(found_scaling, expected_scaling);
    json_decref(found_scaling);
    json_decref(expected_scaling);
    return is_same;
}

/* Where the .moe says so; the plan may spell a key the other way. */
static const char *find_where(const MoecConfigValue *values, uint32_t n, const char *key) {
    for (uint32_t i = 0; i < n; i++) {
        if (strcmp(values[i].key, key) == 0 ||
            (strncmp(key, "rope_", 5) == 0 && strcmp(values[i].key, "rope_parameters") == 0))
            return values[i].where;
    }
    return "the .moe";
}

enum { MAX_DIFFERENCES = 4 };

/* Differences found so far, as lines of a message. */
typedef struct {
    char text[700];
    size_t length;
    int n;
} Differences;

static void add_difference(Differences *differences, const char *key, const json_t *found, const json_t *expected,
                           const char *where) {
    if (differences->n++ >= MAX_DIFFERENCES)
        return;
    char *found_text = json_print_line(found), *expected_text = json_print_line(expected);
    size_t room = sizeof differences->text - differences->length;
    int length =
        snprintf(differences->text + differences->length, room, "\n  \"%.40s\" is %.50s, expected %.50s (%s)", key,
                 found_text ? found_text : "?", expected_text ? expected_text : "?", status_path_end(where, 60));
    if (length > 0 && (size_t)length < room)
        differences->length += (size_t)length;
    free(found_text);
    free(expected_text);
}

/* transformers writes "head_dim": null for hidden_size / num_attention_heads. */
static bool is_given(const char *key, const json_t *found) {
    return found && !(json_is_null(found) && strcmp(key, "head_dim") == 0);
}

static void compare_values(const json_t *config, const MoecConfigValue *values, uint32_t n, const json_t *expected,
                           const json_t *replaced, Differences *differences) {
    const char *key;
    json_t *value;
    json_object_foreach((json_t *)expected, key, value) {
        const json_t *found = json_object_get(config, key);
        bool is_compared = is_given(key, found) && !is_listed(key, ignored_keys) && !json_object_get(replaced, key);
        if (is_compared && !same_value(key, found, value))
            add_difference(differences, key, found, value, find_where(values, n, key));
    }
}

/* Of the keys that the export sets, those about routing. */
static void compare_routing(const MoecPlan *plan, const json_t *config, const json_t *exported,
                            Differences *differences) {
    const char *key;
    json_t *value;
    json_object_foreach((json_t *)exported, key, value) {
        const json_t *found = json_object_get(config, key);
        if (found && is_listed(key, routing_keys) && !same_value(key, found, value))
            add_difference(differences, key, found, value, find_where(plan->export_config, plan->n_export_config, key));
    }
}

static bool report_differences(const Differences *differences, const char *path, Status *status) {
    if (differences->n == 0)
        return true;
    char more[40] = "";
    if (differences->n > MAX_DIFFERENCES)
        snprintf(more, sizeof more, "\n  and %d more", differences->n - MAX_DIFFERENCES);
    return status_fail(status, STATUS_INPUT,
                       "%.200s: not the model that this program was compiled for:%s%s\n"
                       "give the checkpoint that the .moe describes, or change the .moe and build again",
                       path, differences->text, more);
}

bool model_config_check(const MoecPlan *plan, const json_t *config, const char *path, bool is_export, Status *status) {
    const json_t *quantization = json_object_get(config, "quantization_config");
    if (quantization && !json_is_null(quantization))
        return status_fail(status, STATUS_INPUT,
                           "%.200s: has \"quantization_config\"; only F32, F16 and BF16 weights can be read, give the "
                           "checkpoint from before quantization",
                           path);
    json_t *found = copy_values(config, status);
    json_t *expected = plan_values(plan->dense_config, plan->n_dense_config, status);
    json_t *exported = plan_values(plan->export_config, plan->n_export_config, status);
    Differences differences = {0};
    if (!status->failed) {
        compare_values(found, plan->dense_config, plan->n_dense_config, expected, is_export ? exported : NULL,
                       &differences);
        if (is_export)
            compare_routing(plan, found, exported, &differences);
        report_differences(&differences, path, status);
    }
    json_decref(found);
    json_decref(expected);
    json_decref(exported);
    return !status->failed;
}

/* ---- Exporting ------------------------------------------------------------------------------------------------- */

json_t *model_config_export(const MoecPlan *plan, const json_t *dense, const char *dtype, Status *status) {
    json_t *config = copy_values(dense, status);
    json_t *expected = plan_values(plan->dense_config, plan->n_dense_config, status);
    json_t *exported = plan_values(plan->export_config, plan->n_export_config, status);
    /* transformers before 4.56 reads torch_dtype, later ones dtype. */
    if (!status->failed &&
        (json_object_update_missing(config, expected) != 0 || json_object_update(config, exported) != 0 ||
         json_object_set_new(config, "torch_dtype", json_string(dtype)) != 0 ||
         json_object_set_new(config, "dtype", json_string(dtype)) != 0))
        status_fail(status, STATUS_SYSTEM, "out of memory for config.json");
    json_decref(expected);
    json_decref(exported);
    if (!status->failed)
        return config;
    json_decref(config);
    return NULL;
}
