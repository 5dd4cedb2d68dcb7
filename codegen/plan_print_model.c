/* What the runtime must know of the model beside its programs: weights, config.json, the train clause. */
#include <assert.h>
#include <inttypes.h>
#include <string.h>

#include "codegen/plan_print.h"
#include "ir/text.h"

/* ".field = value"; no field is a list. */
static void print_field(FILE *out, const char *field, const Attr *attr) {
    assert(attr->kind != ATTR_INTS);
    fprintf(out, ".%s = ", field);
    text_print_attr_value(out, attr, plan_print_string, plan_print_double);
}

/* ---- Weights --------------------------------------------------------------------------------------------------- */

/* Attributes of a state and the fields of MoecWeight that hold them; what is absent stays 0 or NULL. */
static const struct {
    const char *key, *field;
} weight_fields[] = {
    {"source", "source"},
    {"experts", "experts"},
    {"segments", "segments"},
    {"segment_dim", "segment_dim"},
    {"scale", "scale"},
    {"noise", "noise"},
    {"drop", "drop"},
    {"drop_dim", "drop_dim"},
    {"drop_extent", "drop_extent"},
    {"drop_key", "drop_key"},
    {"tile", "tile"},
    {"export", "export_name"},
    {"decay", "decay"},
};

static const double DEFAULT_STD = 0.02;

static void print_weight(FILE *out, const Plan *plan, const PlanWeight *weight) {
    const State *state = weight->state;
    fputs("    {.name = ", out);
    plan_print_string(out, state->name);
    fprintf(out, ", .rank = %d, .dims = ", state->type.rank);
    plan_print_dims(out, &state->type);
    fprintf(out, ", .offset = %" PRId64 ", .gradient = {%d, %" PRId64 "}", weight->offset, (int)weight->gradient.space,
            weight->gradient.offset);
    fputs(", .init = ", out);
    plan_print_string(out, attrs_string(&state->attrs, "init", "normal"));
    fputs(", .std = ", out);
    plan_print_double(out, attrs_float(&state->attrs, "std", DEFAULT_STD));
    for (size_t i = 0; i < sizeof weight_fields / sizeof *weight_fields; i++) {
        const Attr *attr = attrs_find(&state->attrs, weight_fields[i].key);
        if (attr) {
            fputs(", ", out);
            print_field(out, weight_fields[i].field, attr);
        }
    }
    fputs(", .where = ", out);
    plan_print_loc(out, plan->module, state->loc);
    fputs("},\n", out);
}

void plan_print_weights(FILE *out, const Plan *plan) {
    if (plan->n_weights == 0)
        return;
    fputs("\n/* ---- Weights ---- */\n\nstatic const MoecWeight weights[] = {\n", out);
    for (size_t i = 0; i < plan->n_weights; i++)
        print_weight(out, plan, &plan->weights[i]);
    fputs("};\n", out);
}

/* ---- Packed weights ---------------------------------------------------------------------------------------------- */

void plan_print_packed(FILE *out, const Plan *plan) {
    if (plan->n_packed == 0)
        return;
    fputs("\n/* ---- Packed copies of weights ---- */\n\nstatic const MoecPacked packed[] = {\n", out);
    for (size_t i = 0; i < plan->n_packed; i++) {
        const PlanPacked *packed = &plan->packed[i];
        const LoweredPacked *shape = &packed->shape;
        fprintf(out,
                "    {.precision = MOEC_GEMM_F32, .from = {%d, %" PRId64 "}, .n_groups = %" PRId64
                ", .n_cols = %" PRId64 ", .k = %" PRId64 ",\n     .stride = %" PRId64 ", .k_stride = %" PRId64
                ", .group_stride = %" PRId64 ",\n     .n_bytes = %" PRId64 ", .n_trained = %" PRId64
                ", .n_evaluated = %" PRId64 ", .n_generated = %" PRId64 ", .least_spared = ",
                (int)packed->from.space, packed->from.offset, shape->n_groups, shape->n_cols, shape->k, shape->stride,
                shape->k_stride, shape->group_stride, packed->n_bytes, packed->n_trained, packed->n_evaluated,
                packed->n_generated);
        plan_print_double(out, packed->least_spared);
        fputs("},\n", out);
    }
    fputs("};\n", out);
}

/* ---- config.json ----------------------------------------------------------------------------------------------- */

/* Keys of the export clause that the upcycle pass reads. */
static bool is_export_setting(const char *key) {
    return strncmp(key, "rename:", strlen("rename:")) == 0 || strcmp(key, "holds") == 0 || strcmp(key, "used") == 0;
}

/* The i-th key of config.json that the clause sets; false past the last. */
static bool next_config_value(const Directive *directive, size_t *i) {
    if (!directive || !attrs_bool(&directive->attrs, "used", true))
        return false;
    while (*i < directive->attrs.n && is_export_setting(directive->attrs.items[*i].key))
        (*i)++;
    return *i < directive->attrs.n;
}

static size_t count_config_values(const Directive *directive) {
    size_t n = 0;
    for (size_t i = 0; next_config_value(directive, &i); i++)
        n++;
    return n;
}

static void print_config(FILE *out, const Module *module, const char *array, const Directive *directive) {
    if (count_config_values(directive) == 0)
        return;
    fprintf(out, "\nstatic const MoecConfigValue %s[] = {\n", array);
    for (size_t i = 0; next_config_value(directive, &i); i++) {
        const Attr *attr = &directive->attrs.items[i];
        fputs("    {", out);
        plan_print_string(out, attr->key);
        fputs(", ", out);
        plan_print_string(out, attr->as.s);
        fputs(", ", out);
        plan_print_loc(out, module, attr->loc.line > 0 ? attr->loc : directive->loc);
        fputs("},\n", out);
    }
    fputs("};\n", out);
}

void plan_print_configs(FILE *out, const Plan *plan) {
    print_config(out, plan->module, "dense_config", module_find_directive(plan->module, "checkpoint"));
    print_config(out, plan->module, "export_config", module_find_directive(plan->module, "export"));
}

/* ---- The train clause ------------------------------------------------------------------------------------------ */

/* Fields of MoecTrainConfig, which are the clause's attributes too: the front end sets them all. */
static const char *const train_fields[] = {
    "steps", "global_batch", "lr",           "min_lr", "schedule",   "warmup",     "decay_steps", "beta1",
    "beta2", "epsilon",      "weight_decay", "clip",   "eval_every", "save_every", "seed",
};

static void print_train(FILE *out, const Module *module) {
    const Directive *train = module_find_directive(module, "train");
    if (!train)
        return;
    fputs("    .train = {\n", out);
    for (size_t i = 0; i < sizeof train_fields / sizeof *train_fields; i++) {
        const Attr *attr = attrs_find(&train->attrs, train_fields[i]);
        if (!attr)
            continue;
        fputs("        ", out);
        print_field(out, attr->key, attr);
        fputs(",\n", out);
    }
    fputs("    },\n", out);
}

void plan_print_model_fields(FILE *out, const Plan *plan) {
    const Module *module = plan->module;
    plan_print_table_fields(out, "weights", "weights", plan->n_weights);
    plan_print_table_fields(out, "packed", "packed", plan->n_packed);
    fprintf(out, "    .packed_limit = %" PRId64 ",\n", plan->packed_limit);
    plan_print_table_fields(out, "dense_config", "dense_config",
                            count_config_values(module_find_directive(module, "checkpoint")));
    plan_print_table_fields(out, "export_config", "export_config",
                            count_config_values(module_find_directive(module, "export")));
    print_train(out, module);
}
