/* Graph "update": one AdamW step on every weight from its accumulated gradient, which it leaves zero, under a bound on
   the global norm. spec/numerics.md, "Optimizer". */
#include <string.h>

#include "passes/passes.h"

/* Added to the norm, so that gradients that are all zero have a scale. */
static const double NORM_EPSILON = 1e-6;

/* lr, beta1, beta2, epsilon, weight decay, 1 - beta1^t, 1 - beta2^t */
enum { N_HYPER = 7 };

/* A weight and the states that belong to it. */
typedef struct {
    const State *weight, *gradient, *moment1, *moment2;
} Parameter;

typedef struct {
    Module *module;
    Builder builder;
    Parameter *parameters;
    size_t n_parameters;
} Optimizer;

/* Adds the state "KIND:NAME" of weight NAME. */
static const State *add_state_of_weight(Module *module, const State *weight, const char *kind) {
    const char *name = arena_printf(module->arena, "%s:%s", kind, weight->name);
    return module_add_state(module, name, kind, &weight->type, weight->loc);
}

/* False after an error: a weight without gradient. */
static bool add_parameters(Optimizer *at, Reporter *reporter) {
    Module *module = at->module;
    size_t n_states = module->n_states; /* the moments come behind these */
    at->parameters = arena_array_of(module->arena, Parameter, n_states);
    for (size_t i = 0; i < n_states; i++) {
        const State *weight = module->states[i];
        if (strcmp(weight->kind, "weight") != 0)
            continue;
        const State *gradient = module_find_state(module, arena_printf(module->arena, "grad:%s", weight->name));
        if (!gradient) {
            report_error(reporter, module, weight->loc,
                         "weight \"%s\" has no gradient: autodiff must run before optimizer", weight->name);
            return false;
        }
        at->parameters[at->n_parameters++] = (Parameter){
            .weight = weight,
            .gradient = gradient,
            .moment1 = add_state_of_weight(module, weight, "moment1"),
            .moment2 = add_state_of_weight(module, weight, "moment2"),
        };
    }
    if (!at->n_parameters)
        report_error(reporter, module, (Loc){0}, "there is nothing to train: the model has no weight");
    return at->n_parameters > 0;
}

/* The 2-norm of all gradients together, added up in the order of the weights. */
static Value *build_norm(Optimizer *at, Value *const *gradients) {
    Value *sum = build(&at->builder, OP_sum_squares, (int)at->n_parameters, gradients, NULL);
    Value *norm = build_unary(&at->builder, OP_sqrt, sum);
    norm->hint = "grad_norm";
    return norm;
}

/* min(1, max_norm / (norm + epsilon)), written as max_norm / max(norm + epsilon, max_norm) with max(a, b) = b +
   relu(a - b): exactly 1 below the bound, however large that is, and no digits lost above it. */
static Value *build_clip_scale(Optimizer *at, Value *norm, Value *max_norm) {
    Builder *builder = &at->builder;
    Value *epsilon = build_constant(builder, NORM_EPSILON, &norm->type);
    Value *excess = build_binary(builder, OP_sub, build_binary(builder, OP_add, norm, epsilon), max_norm);
    Value *larger = build_binary(builder, OP_add, max_norm, build_unary(builder, OP_relu, excess));
    Value *scale = build_binary(builder, OP_div, max_norm, larger);
    scale->hint = "scale";
    return scale;
}

static void build_step(Optimizer *at, const Parameter *parameter, Value *gradient, Value *hyper, Value *scale) {
    at->builder.loc = parameter->weight->loc;
    Value *operands[] = {
        build_state(&at->builder, parameter->weight),  gradient, build_state(&at->builder, parameter->moment1),
        build_state(&at->builder, parameter->moment2), hyper,    scale};
    Attrs attrs = {0};
    attrs_set_bool(at->module->arena, &attrs, "decay", attrs_bool(&parameter->weight->attrs, "decay", false));
    build(&at->builder, OP_adamw, 6, operands, &attrs);
}

bool optimizer_run(Module *module, Reporter *reporter) {
    Optimizer at = {.module = module};
    if (!pass_can_add(module, reporter, "optimizer", (const char *const[]){"update", NULL},
                      (const char *const[]){"moment1:", "moment2:", NULL}))
        return false;
    if (!add_parameters(&at, reporter))
        return false;
    at.builder = (Builder){.graph = module_add_graph(module, "update")};
    Value *hyper = build_input(&at.builder, "hyper", &(Type){DTYPE_F32, 1, {{.extent = N_HYPER}}});
    Value *max_norm = build_input(&at.builder, "max_norm", &(Type){.dtype = DTYPE_F32});

    Value **gradients = arena_array_of(module->arena, Value *, at.n_parameters);
    for (size_t i = 0; i < at.n_parameters; i++)
        gradients[i] = build_state(&at.builder, at.parameters[i].gradient);
    Value *norm = build_norm(&at, gradients);
    Value *scale = build_clip_scale(&at, norm, max_norm);
    for (size_t i = 0; i < at.n_parameters; i++)
        build_step(&at, &at.parameters[i], gradients[i], hyper, scale);
    graph_add_output(at.builder.graph, "grad_norm", norm);
    return true;
}
