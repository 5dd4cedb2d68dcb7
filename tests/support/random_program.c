#include "tests/support/random_program.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "tests/support/random.h"
#include "tests/support/random_steps.h"

/* ---- The program ----------------------------------------------------------------------------------------------- */

/* Every value that no step has used adds the mean of its squares, plus its mean, so that no gradient vanishes by
   symmetry (the elements of a softmax sum to 1). */
static Value *add_unused(Generator *at, Value *loss) {
    size_t n_pool = at->n_pool;
    for (size_t i = 0; i < n_pool; i++) {
        Value *x = at->pool[i].value;
        if (at->pool[i].is_used)
            continue;
        Value *square = build_binary(&at->builder, OP_mul, x, x);
        Value *share = random_mean(at, build_binary(&at->builder, OP_add, square, x));
        loss = build_binary(&at->builder, OP_add, loss, share);
    }
    return loss;
}

static void add_loss(Generator *at) {
    Builder *builder = &at->builder;
    Value *hidden = random_pick(at, random_is_hidden)->value;
    Value *logits = random_linear(at, hidden, RANDOM_PROGRAM_VOCAB);
    Value *targets = build_input(builder, "targets", &at->tokens->type);
    Value *nlls = build(builder, OP_cross_entropy, 2, (Value *[]){logits, targets}, NULL);
    if (random_below(at, 2))
        random_push(at, &nlls->def->results[1], 3);
    Value *nll = random_mean(at, nlls), *loss = nll;
    Value *const terms[] = {at->balance, at->z_loss};
    for (size_t i = 0; i < sizeof terms / sizeof *terms; i++)
        loss = terms[i] ? build_binary(builder, OP_add, loss, build_scale(builder, terms[i], 0.1)) : loss;
    loss = add_unused(at, loss);
    graph_add_output(builder->graph, "logits", logits);
    graph_add_output(builder->graph, "nll", nll);
    graph_add_output(builder->graph, "loss", loss);
    if (at->balance) {
        graph_add_output(builder->graph, "balance", at->balance);
        graph_add_output(builder->graph, "z_loss", at->z_loss);
        graph_add_output(builder->graph, "expert_load", at->expert_load);
    }
}

static Module *generate(Arena *arena, uint64_t seed, int n_steps) {
    Generator *at = arena_new_of(arena, Generator);
    at->arena = arena;
    at->random = seed;
    at->module = module_new(arena, arena_printf(arena, "random_%llu", (unsigned long long)seed));
    module_add_file(at->module, "random.moe");
    module_add_scope(at->module, (Scope){.function = "main", .path = ""});
    at->builder = (Builder){.graph = module_add_graph(at->module, "forward"), .loc = {.line = 1, .column = 1}};
    at->B = 1 + random_below(at, 2);
    at->T = 2 + random_below(at, 3);
    at->d = 4 + 2 * random_below(at, 2);
    Type tokens = random_type(2, (int64_t[]){at->B, at->T});
    tokens.dtype = DTYPE_I32;
    at->tokens = build_input(&at->builder, "tokens", &tokens);
    Value *table = random_weight(at, random_type(2, (int64_t[]){RANDOM_PROGRAM_VOCAB, at->d}));
    random_push(at, build(&at->builder, OP_gather, 2, (Value *[]){table, at->tokens}, NULL), 1);
    int64_t routed_step = random_below(at, 2 * n_steps); /* half of the programs route */
    for (int i = 0; i < n_steps; i++) {
        at->builder.loc.line = (uint32_t)i + 2;
        if (i == routed_step)
            random_step_route(at);
        else
            random_step(at);
    }
    add_loss(at);
    return at->module;
}

/* ---- The data -------------------------------------------------------------------------------------------------- */

/* What is not drawn from [-1, 1). */
static void fill_hyper(Tensor *hyper) {
    const double values[] = {0.01, 0.9, 0.95, 1e-8, 0.1, 1 - pow(0.9, 3), 1 - pow(0.95, 3)};
    memcpy(hyper->data, values, sizeof values);
}

void random_program_fill(Tensor *tensor, const char *name, uint64_t data_seed) {
    uint64_t seed = data_seed;
    for (const char *letter = name; *letter; letter++) { /* FNV-1a */
        seed ^= (unsigned char)*letter;
        seed *= 0x100000001b3u;
    }
    if (strcmp(name, "tokens") == 0)
        random_fill(tensor, seed, 0, RANDOM_PROGRAM_VOCAB);
    else if (strcmp(name, "targets") == 0)
        random_fill(tensor, seed, -1, RANDOM_PROGRAM_VOCAB);
    else if (strcmp(name, "hyper") == 0)
        fill_hyper(tensor);
    else if (strcmp(name, "max_norm") == 0)
        tensor->data[0] = 0.5;
    else if (strcmp(name, "loss_scale") == 0)
        tensor->data[0] = 1;
    else if (strncmp(name, "moment2:", strlen("moment2:")) == 0)
        random_fill(tensor, seed, 0, 1);
    else
        random_fill(tensor, seed, -1, 1);
}

static void bind_states(Interpreter *interpreter, const Module *module, uint64_t data_seed) {
    for (size_t i = 0; i < module->n_states; i++) {
        const State *state = module->states[i];
        Tensor *tensor = interpreter_state(interpreter, state->name);
        if (strcmp(state->kind, "weight") == 0)
            random_program_fill(tensor, state->name, data_seed);
        else
            memset(tensor->data, 0, sizeof(double) * (size_t)type_n_elements(&tensor->type));
    }
}

void random_program_bind(Interpreter *interpreter, const Module *module, uint64_t data_seed) {
    Arena *arena = arena_new();
    bind_states(interpreter, module, data_seed);
    for (size_t i = 0; i < module->n_graphs; i++) {
        for (const Node *node = module->graphs[i]->first; node; node = node->next) {
            if (node->op != OP_input)
                continue;
            const char *name = attrs_string(&node->attrs, "name", "");
            Tensor tensor = tensor_new(arena, &node->results[0].type);
            random_program_fill(&tensor, name, data_seed);
            interpreter_set_input(interpreter, name, tensor);
        }
    }
    arena_free(arena);
}

/* ---- Smoothness ------------------------------------------------------------------------------------------------ */

/* Two values so near that a small step may swap them. Equal values are equal by construction and move together, as is
   a 0 that relu meets. */
static bool are_too_near(double a, double b) {
    return a != b && fabs(a - b) < RANDOM_PROGRAM_MARGIN;
}

static bool is_smooth_relu(const Tensor *x) {
    int64_t n_elements = type_n_elements(&x->type);
    for (int64_t i = 0; i < n_elements; i++) {
        if (are_too_near(x->data[i], 0))
            return false;
    }
    return true;
}

static bool is_smooth_top_k(const Tensor *x) {
    int64_t n_elements = type_n_elements(&x->type), extent = x->type.dims[x->type.rank - 1].extent;
    for (int64_t i = 0; i < n_elements; i++) {
        for (int64_t j = i + 1; j < n_elements && j / extent == i / extent; j++) {
            if (are_too_near(x->data[i], x->data[j]))
                return false;
        }
    }
    return true;
}

static bool is_smooth(Interpreter *interpreter, const Graph *graph) {
    const char *error = interpreter_run(interpreter, graph);
    if (error) {
        fprintf(stderr, "random program: %s\n", error);
        abort();
    }
    for (const Node *node = graph->first; node; node = node->next) {
        const Tensor *x = node->n_operands ? interpreter_value(interpreter, node->operands[0]) : NULL;
        if ((node->op == OP_relu && !is_smooth_relu(x)) || (node->op == OP_top_k && !is_smooth_top_k(x)))
            return false;
    }
    return true;
}

enum { MAX_DATA_DRAWS = 200 };

RandomProgram random_program(Arena *arena, uint64_t seed, int n_steps) {
    RandomProgram program = {.module = generate(arena, seed, n_steps)};
    const char *reason = module_verify(program.module);
    Interpreter *interpreter = interpreter_new(arena, program.module);
    for (uint64_t draw = 0; !reason && draw < MAX_DATA_DRAWS; draw++) {
        program.data_seed = seed * MAX_DATA_DRAWS + draw;
        random_program_bind(interpreter, program.module, program.data_seed);
        if (is_smooth(interpreter, module_find_graph(program.module, "forward")))
            return program;
    }
    fprintf(stderr, "random program %llu: %s\n", (unsigned long long)seed, reason ? reason : "no smooth data");
    abort();
}
