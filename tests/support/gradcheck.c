#include "tests/support/gradcheck.h"

#include <math.h>
#include <string.h>

/* One check under way. */
typedef struct {
    Arena *arena;
    const Module *module;
    Interpreter *interpreter;
    Gradcheck options; /* defaults filled in */
    const Graph *forward, *gradient;
    double loss;      /* at the unperturbed point */
    double *integers; /* every i32 value of the forward graph there, one after the other */
    int64_t n_integers;
    double worst; /* relative error so far */
    const char *worst_message;
    int64_t n_compared;
} Check;

static Gradcheck with_defaults(Gradcheck options) {
    options.forward = options.forward ? options.forward : "forward";
    options.loss = options.loss ? options.loss : "loss";
    options.gradient = options.gradient ? options.gradient : "train";
    options.tolerance = options.tolerance > 0 ? options.tolerance : 1e-6;
    options.step = options.step > 0 ? options.step : 1e-5;
    return options;
}

/* ---- Running ------------------------------------------------------------------------------------------------- */

static bool is_watched(const Value *value) {
    return value->type.dtype == DTYPE_I32;
}

static const char *run_forward(Check *check, double *loss) {
    const char *error = interpreter_run(check->interpreter, check->forward);
    if (error)
        return error;
    Tensor *output = interpreter_output(check->interpreter, check->options.loss);
    if (!output || type_n_elements(&output->type) != 1)
        return arena_printf(check->arena, "graph %s has no output \"%s\" of one element", check->forward->name,
                            check->options.loss);
    *loss = output->data[0];
    return NULL;
}

/* Compares the integers of the last run with those at the unperturbed point, or remembers them. */
static const char *visit_integers(Check *check, bool remember) {
    int64_t at = 0;
    for (const Node *node = check->forward->first; node; node = node->next) {
        for (int i = 0; i < node->n_results; i++) {
            const Value *value = &node->results[i];
            if (!is_watched(value))
                continue;
            size_t n_bytes = sizeof(double) * (size_t)type_n_elements(&value->type);
            double *data = interpreter_value(check->interpreter, value)->data;
            if (remember)
                memcpy(check->integers + at, data, n_bytes);
            else if (memcmp(check->integers + at, data, n_bytes) != 0)
                return arena_printf(check->arena, "the step changes %%%u, an integer result of %s", value->number,
                                    op_info(node->op)->name);
            at += type_n_elements(&value->type);
        }
    }
    return NULL;
}

static const char *run_base(Check *check) {
    const char *error = run_forward(check, &check->loss);
    if (error)
        return error;
    for (const Node *node = check->forward->first; node; node = node->next) {
        for (int i = 0; i < node->n_results; i++)
            check->n_integers += is_watched(&node->results[i]) ? type_n_elements(&node->results[i].type) : 0;
    }
    check->integers = arena_array_of(check->arena, double, check->n_integers);
    return visit_integers(check, true);
}

/* ---- Comparing ----------------------------------------------------------------------------------------------- */

/* The loss with `*x` moved by `offset`; `*x` is put back. */
static const char *perturbed_loss(Check *check, double *x, double offset, double *loss) {
    double kept = *x;
    *x = kept + offset;
    const char *error = run_forward(check, loss);
    if (!error)
        error = visit_integers(check, false);
    *x = kept;
    return error;
}

static double largest_magnitude(const double *values, int64_t n) {
    double largest = 0;
    for (int64_t i = 0; i < n; i++)
        largest = fmax(largest, fabs(values[i]));
    return largest;
}

/* "[3, 0]": where element `flat` stands in a tensor of `type`. */
static const char *format_index(Arena *arena, const Type *type, int64_t flat) {
    const char *text = "]";
    for (int i = type->rank; i-- > 0; flat /= type->dims[i].extent)
        text = arena_printf(arena, "%s%lld%s", i ? ", " : "[", (long long)(flat % type->dims[i].extent), text);
    return type->rank ? text : "[]";
}

static void note_element(Check *check, const char *name, const Type *type, int64_t index, double gradient,
                         double difference, double floor_value) {
    double error = fabs(gradient - difference) / fmax(fmax(fabs(gradient), fabs(difference)), floor_value);
    check->n_compared++;
    if (error <= check->worst) /* false for NaN too, which is always reported */
        return;
    check->worst = isnan(error) ? INFINITY : error;
    check->worst_message = arena_printf(check->arena,
                                        "gradient of \"%s\" at %s: graph %s gives %.12g, central differences of \"%s\" "
                                        "give %.12g (relative error %.3g, tolerance %.3g)",
                                        name, format_index(check->arena, type, index), check->gradient->name, gradient,
                                        check->options.loss, difference, error, check->options.tolerance);
}

/* Compares `gradient` (a copy) with the differences along the elements of `x`, the bound storage of `name`. */
static const char *check_tensor(Check *check, const char *name, const Tensor *x, const double *gradient) {
    int64_t n_elements = type_n_elements(&x->type);
    int64_t limit = check->options.max_elements;
    int64_t n_checked = limit > 0 && limit < n_elements ? limit : n_elements;
    double floor_value = fmax(1e-3 * fmax(largest_magnitude(gradient, n_elements), fabs(check->loss)), 1e-9);
    for (int64_t i = 0; i < n_checked; i++) {
        int64_t index = i * n_elements / n_checked;
        double above, below, h = check->options.step;
        const char *error = perturbed_loss(check, &x->data[index], h, &above);
        if (!error)
            error = perturbed_loss(check, &x->data[index], -h, &below);
        if (error)
            return arena_printf(check->arena, "\"%s\" at %s, step %g: %s", name,
                                format_index(check->arena, &x->type, index), h, error);
        note_element(check, name, &x->type, index, gradient[index], (above - below) / (2 * h), floor_value);
    }
    return NULL;
}

/* ---- What has a gradient ------------------------------------------------------------------------------------- */

typedef struct {
    const char *name;
    Tensor *x;
    double *gradient; /* a copy: later runs write the same storage */
} Subject;

typedef struct {
    Subject *items;
    size_t n, capacity;
} Subjects;

/* NULL where neither a state nor an output of the last run holds the gradient of `name`. */
static Tensor *find_gradient(Check *check, const char *name) {
    const char *gradient_name = arena_printf(check->arena, "grad:%s", name);
    Tensor *output = interpreter_output(check->interpreter, gradient_name);
    return output ? output : interpreter_state(check->interpreter, gradient_name);
}

static const char *add_subject(Check *check, Subjects *subjects, const char *name, Tensor *x, const Tensor *gradient) {
    if (!type_equal(&gradient->type, &x->type))
        return arena_printf(check->arena, "the gradient of \"%s\" is %s: expected %s", name,
                            type_format(check->arena, &gradient->type), type_format(check->arena, &x->type));
    size_t n_elements = (size_t)type_n_elements(&x->type);
    Subject subject = {.name = name, .x = x, .gradient = arena_array_of(check->arena, double, n_elements)};
    memcpy(subject.gradient, gradient->data, sizeof(double) * n_elements);
    arena_push(check->arena, subjects->items, subjects->n, subjects->capacity, subject);
    return NULL;
}

static const char *find_state_subjects(Check *check, Subjects *subjects) {
    const char *error = NULL;
    for (size_t i = 0; i < check->module->n_states && !error; i++) {
        const State *state = check->module->states[i];
        if (strcmp(state->kind, "weight") != 0)
            continue;
        Tensor *gradient = find_gradient(check, state->name);
        if (!gradient)
            return arena_printf(check->arena, "weight \"%s\" has no gradient", state->name);
        error = add_subject(check, subjects, state->name, interpreter_state(check->interpreter, state->name), gradient);
    }
    return error;
}

static const char *find_input_subjects(Check *check, Subjects *subjects) {
    const char *error = NULL;
    for (const Node *node = check->forward->first; node && !error; node = node->next) {
        if (node->op != OP_input)
            continue;
        const char *name = attrs_string(&node->attrs, "name", "");
        Tensor *gradient = find_gradient(check, name);
        if (gradient)
            error = add_subject(check, subjects, name, interpreter_input(check->interpreter, name), gradient);
    }
    return error;
}

static void zero_gradients(Check *check) {
    for (size_t i = 0; i < check->module->n_states; i++) {
        const State *state = check->module->states[i];
        if (strcmp(state->kind, "grad") != 0)
            continue;
        Tensor *tensor = interpreter_state(check->interpreter, state->name);
        memset(tensor->data, 0, sizeof(double) * (size_t)type_n_elements(&tensor->type));
    }
}

static const char *run_gradient(Check *check, Subjects *subjects) {
    zero_gradients(check);
    const char *error = interpreter_run(check->interpreter, check->gradient);
    if (!error)
        error = find_state_subjects(check, subjects);
    if (!error)
        error = find_input_subjects(check, subjects);
    return error;
}

const char *gradcheck(Arena *arena, const Module *module, Interpreter *interpreter, const Gradcheck *options) {
    Check check = {.arena = arena, .module = module, .interpreter = interpreter, .options = with_defaults(*options)};
    check.forward = module_find_graph(module, check.options.forward);
    check.gradient = module_find_graph(module, check.options.gradient);
    if (!check.forward || !check.gradient)
        return arena_printf(arena, "module %s has no graph \"%s\"", module->name,
                            check.forward ? check.options.gradient : check.options.forward);
    Subjects subjects = {0};
    const char *error = run_gradient(&check, &subjects);
    if (!error)
        error = run_base(&check);
    for (size_t i = 0; i < subjects.n && !error; i++)
        error = check_tensor(&check, subjects.items[i].name, subjects.items[i].x, subjects.items[i].gradient);
    if (error)
        return error;
    if (check.n_compared == 0)
        return "there is no gradient to compare";
    return check.worst > check.options.tolerance ? check.worst_message : NULL;
}
