#include "frontend/evaluate.h"

#include <math.h>
#include <string.h>

#include "ir/interpret.h"
#include "ir/view.h"

enum { SHOWN_ELEMENTS = 4 };

/* SplitMix64 (Steele, Lea, Flood 2014): `state` advances by one draw. */
static uint64_t random_next(uint64_t *state) {
    uint64_t z = (*state += 0x9e3779b97f4a7c15ULL);
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ULL;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebULL;
    return z ^ (z >> 31);
}

static double random_uniform(uint64_t *state) {
    return ((double)(random_next(state) >> 11) + 0.5) * 0x1p-53;
}

static double random_normal(uint64_t *state) {
    double radius = sqrt(-2.0 * log(random_uniform(state)));
    return radius * cos(2.0 * M_PI * random_uniform(state));
}

static uint64_t seed_for(const char *name, uint64_t seed) {
    uint64_t hash = 0xcbf29ce484222325ULL ^ seed;
    for (; *name != '\0'; name++)
        hash = (hash ^ (unsigned char)*name) * 0x100000001b3ULL;
    return hash;
}

/* The smallest number of rows or classes that a use of the integer input allows. */
static int64_t index_limit(const Graph *graph, const Value *input) {
    int64_t limit = INT32_MAX;
    for (const Node *node = graph->first; node != NULL; node = node->next) {
        if (node->n_operands < 2 || view_owner(node->operands[1]) != input)
            continue;
        const Type *indexed = &node->operands[0]->type;
        if (node->op == OP_gather && indexed->dims[0].extent < limit)
            limit = indexed->dims[0].extent;
        if (node->op == OP_cross_entropy && type_extent(indexed, -1) < limit)
            limit = type_extent(indexed, -1);
    }
    return limit;
}

/* Draws for a tensor of the dense checkpoint, or for a weight that has none there. */
static void fill_state(const State *state, uint64_t seed, double *values, int64_t n) {
    const char *init = attrs_string(&state->attrs, "init", "normal");
    double std = attrs_float(&state->attrs, "std", 0.02), scale = attrs_float(&state->attrs, "scale", 1.0);
    uint64_t random = seed_for(attrs_string(&state->attrs, "source", state->name), seed);
    for (int64_t i = 0; i < n; i++) {
        double value = strcmp(init, "ones") == 0    ? 1.0
                       : strcmp(init, "zeros") == 0 ? 0.0
                                                    : std * random_normal(&random);
        values[i] = scale * value;
    }
}

/* The experts of a weight, each segment e mod G of dim D of one dense tensor: spec/ir.md, "States". */
static void copy_experts(const State *state, const double *dense, double *values) {
    const Type *type = &state->type;
    int64_t n_segments = attrs_int(&state->attrs, "segments", 1), n_rows = 1, n_row = 1;
    int segment_dim = 1 + (int)attrs_int(&state->attrs, "segment_dim", 0);
    for (int i = 1; i < type->rank; i++)
        *(i < segment_dim ? &n_rows : &n_row) *= type->dims[i].extent;
    for (int64_t e = 0; e < type->dims[0].extent; e++) {
        for (int64_t row = 0; row < n_rows; row++) {
            const double *from = dense + (row * n_segments + e % n_segments) * n_row;
            for (int64_t i = 0; i < n_row; i++)
                *values++ = from[i];
        }
    }
}

/* Row e of a router equals row e - e mod G. */
static void tile_rows(const State *state, double *values) {
    int64_t tile = attrs_int(&state->attrs, "tile", 1), n = type_n_elements(&state->type);
    if (tile <= 1)
        return;
    int64_t n_row = n / state->type.dims[0].extent;
    for (int64_t i = 0; i < n; i++)
        values[i] = values[i - i / n_row % tile * n_row];
}

static Tensor random_state(Arena *arena, const State *state, uint64_t seed) {
    Tensor tensor = tensor_new(arena, &state->type);
    int64_t n = type_n_elements(&state->type), n_experts = attrs_int(&state->attrs, "experts", 0);
    bool is_replicated = n_experts > 0 && attrs_find(&state->attrs, "source") != NULL;
    if (!is_replicated) {
        fill_state(state, seed, tensor.data, n);
        tile_rows(state, tensor.data);
        return tensor;
    }
    int64_t n_dense = n / n_experts * attrs_int(&state->attrs, "segments", 1);
    double *dense = arena_array_of(arena, double, n_dense);
    fill_state(state, seed, dense, n_dense);
    copy_experts(state, dense, tensor.data);
    return tensor;
}

static Tensor random_input(Arena *arena, const Graph *graph, Value *input, uint64_t seed) {
    Tensor tensor = tensor_new(arena, &input->type);
    uint64_t random = seed_for(attrs_string(&input->def->attrs, "name", ""), seed);
    uint64_t limit = (uint64_t)index_limit(graph, input);
    for (int64_t i = 0; i < type_n_elements(&input->type); i++)
        tensor.data[i] = dtype_is_float(input->type.dtype) ? 1.0 : (double)(random_next(&random) % limit);
    return tensor;
}

static void bind_everything(Interpreter *interpreter, Arena *arena, Module *module, const Graph *graph, uint64_t seed) {
    for (size_t i = 0; i < module->n_states; i++) {
        if (strcmp(module->states[i]->kind, "weight") == 0)
            interpreter_set_state(interpreter, module->states[i]->name, random_state(arena, module->states[i], seed));
    }
    for (Node *node = graph->first; node != NULL; node = node->next) {
        if (node->op == OP_input)
            interpreter_set_input(interpreter, attrs_string(&node->attrs, "name", ""),
                                  random_input(arena, graph, &node->results[0], seed));
    }
}

static void print_output(FILE *out, Arena *arena, const char *name, const Tensor *tensor) {
    int64_t n = type_n_elements(&tensor->type);
    double sum = 0, sum_squares = 0;
    for (int64_t i = 0; i < n; i++) {
        sum += tensor->data[i];
        sum_squares += tensor->data[i] * tensor->data[i];
    }
    fprintf(out, "%s : %s sum %.9g mean square %.9g [", name, type_format(arena, &tensor->type), sum,
            sum_squares / (double)n);
    for (int64_t i = 0; i < n && i < SHOWN_ELEMENTS; i++)
        fprintf(out, "%s%.9g", i > 0 ? ", " : "", tensor->data[i]);
    fprintf(out, "%s]\n", n > SHOWN_ELEMENTS ? ", ..." : "");
}

bool evaluate_graph(FILE *out, Arena *arena, Module *module, const char *name, uint64_t seed) {
    if (name == NULL && module->n_graphs > 0)
        name = module->graphs[0]->name;
    Graph *graph = name != NULL ? module_find_graph(module, name) : NULL;
    if (graph == NULL) {
        fprintf(stderr, "moec: the module has no graph '%s'; it has:", name != NULL ? name : "");
        for (size_t i = 0; i < module->n_graphs; i++)
            fprintf(stderr, " %s", module->graphs[i]->name);
        fputc('\n', stderr);
        return false;
    }
    Interpreter *interpreter = interpreter_new(arena, module);
    bind_everything(interpreter, arena, module, graph, seed);
    const char *failure = interpreter_run(interpreter, graph);
    if (failure != NULL) {
        fprintf(stderr, "moec: %s\n", failure);
        return false;
    }
    for (size_t i = 0; i < graph->n_outputs; i++)
        print_output(out, arena, graph->outputs[i].name, interpreter_output(interpreter, graph->outputs[i].name));
    return true;
}
