// RUN: %unit %s
/* Random programs, fused and placed in memory: each block in the kernel form, in place where the plan says so, against
   its nodes in the IR's interpreter. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "codegen/lower_block.h"
#include "ir/block.h"
#include "passes/passes.h"
#include "tests/support/program.h"
#include "tests/support/random_program.h"
#include "tests/support/stages.h"

enum { N_PROGRAMS = 80, N_STEPS = 16 };

/* A graph that the interpreter has run, and the blocks of which run again. */
typedef struct {
    Arena *arena;
    const Module *module;
    Interpreter *interpreter;
    const Graph *graph;
    LoweredStorage storage;
    Tensor *states; /* as the blocks so far leave them */
    int n_fused, n_replaced;
} Run;

static Tensor *state_of(const Run *at, const Value *owner) {
    for (size_t i = 0; i < at->module->n_states && owner->def->op == OP_state; i++) {
        if (strcmp(at->module->states[i]->name, attrs_string(&owner->def->attrs, "name", "")) == 0)
            return &at->states[i];
    }
    return NULL;
}

static Tensor *storage_of(const Run *at, const Value *owner) {
    Tensor *state = state_of(at, owner);
    return state ? state : interpreter_value(at->interpreter, owner);
}

/* What one entry of the kernel's argument list stands for: n elements of an argument from `first` on. */
typedef struct {
    size_t arg;
    int64_t first, n;
    LoweredArgument place;
} Entry;

static Entry *entries_of(Arena *arena, const LoweredBlock *lowered) {
    const Form *form = lowered->form;
    Entry *entries = arena_array_of(arena, Entry, lowered->n_arguments);
    size_t n = 0;
    for (size_t i = 0; i < form->n_args; i++) {
        const FormArg *arg = &form->args[i];
        int64_t first = 0;
        assert_int_equal(form_arg_entry(form, i), n);
        for (size_t piece = 0; piece < (arg->is_in_pieces ? form->n_pieces : 1); piece++, n++) {
            int64_t n_elements = arg->is_in_pieces ? form->pieces[piece] : arg->n_elements;
            entries[n] = (Entry){i, first, n_elements, lowered->arguments[n]};
            first += n_elements;
        }
    }
    assert_int_equal(n, lowered->n_arguments);
    return entries;
}

/* Values of arguments before the kernel runs; NaN where it is to write. */
static double **argument_values(const Run *at, const Form *form, const Entry *entries, size_t n_entries) {
    double **values = arena_array_of(at->arena, double *, form->n_args);
    for (size_t i = 0; i < form->n_args; i++)
        values[i] = arena_array_of(at->arena, double, (size_t)form->args[i].n_elements);
    for (size_t i = 0; i < n_entries; i++) {
        const Entry *entry = &entries[i];
        bool is_read = form->args[entry->arg].access != FORM_OUT;
        const Value *owner = entry->place.replaced ? entry->place.replaced : entry->place.owner;
        const Tensor *source = is_read ? storage_of(at, owner) : NULL;
        for (int64_t j = 0; j < entry->n; j++)
            values[entry->arg][entry->first + j] = source ? source->data[entry->place.offset + j] : NAN;
    }
    return values;
}

/* Rows past the last offset are nobody's. */
static void check_values(const Run *at, const Form *form, const Value *owner, const double *actual) {
    const Tensor *expected = interpreter_value(at->interpreter, owner);
    for (int64_t i = 0; i < type_n_elements(&owner->type); i++) {
        double e = expected->data[i], a = actual[i];
        bool is_nobodys = type_is_ragged(&owner->type) && (isnan(e) || isnan(a) || e == 0);
        if (!is_nobodys && !(fabs(a - e) <= 1e-10 * fmax(1, fabs(e)))) {
            form_print(stderr, form);
            fail_msg("graph %s, %%%u, element %lld: %.17g, expected %.17g", at->graph->name, owner->number,
                     (long long)i, a, e);
        }
    }
}

static void run_block(Run *at, Node *first, size_t *n) {
    const char *reason;
    Node **nodes = block_nodes(at->arena, first, n);
    Space *space = space_of(at->arena, nodes, *n, &reason);
    if (!space)
        fail_msg("refused: %s", reason);
    LoweredBlock lowered = lower_block(at->arena, space, &at->storage, "kernel", true);
    const Form *form = lowered.form;
    reason = form_verify(at->arena, form);
    const Entry *entries = entries_of(at->arena, &lowered);
    double **args = argument_values(at, form, entries, lowered.n_arguments);
    if (!reason)
        reason = form_interpret(at->arena, form, args);
    if (reason) {
        form_print(stderr, form);
        fail_msg("graph %s, %%%u: %s", at->graph->name, first->results[0].number, reason);
    }
    for (size_t i = 0; i < lowered.n_arguments; i++) {
        const Entry *entry = &entries[i];
        const double *written = args[entry->arg] + entry->first;
        Tensor *state = state_of(at, entry->place.owner);
        at->n_replaced += entry->place.replaced != NULL;
        if (form->args[entry->arg].access == FORM_IN)
            continue;
        if (state)
            memcpy(state->data + entry->place.offset, written, sizeof(double) * (size_t)entry->n);
        else
            check_values(at, form, entry->place.owner, written);
    }
    at->n_fused += *n > 1;
}

/* Whether blocks are all that writes to states. */
static bool updates_by_blocks(const Graph *graph) {
    for (const Node *node = graph->first; node; node = node->next) {
        if (op_info(node->op)->class == OP_CLASS_UPDATE && !node->block)
            return false;
    }
    return true;
}

static void run_graph(Run *at, const Graph *graph) {
    at->graph = graph;
    int n_values;
    at->storage = (LoweredStorage){.escapes = block_escapes(at->arena, graph),
                                   .offsets = attrs_ints(&graph->attrs, "offsets", &n_values)};
    at->states = arena_array_of(at->arena, Tensor, at->module->n_states);
    for (size_t i = 0; i < at->module->n_states; i++) {
        const State *state = at->module->states[i];
        at->states[i] = tensor_new(at->arena, &state->type);
        memcpy(at->states[i].data, interpreter_state(at->interpreter, state->name)->data,
               sizeof(double) * (size_t)type_n_elements(&state->type));
    }
    const char *error = interpreter_run(at->interpreter, graph);
    if (error)
        fail_msg("%s", error);
    if (!updates_by_blocks(graph))
        return;
    for (Node *node = graph->first; node; node = node->next) {
        size_t n = 1;
        if (!node->block)
            continue;
        run_block(at, node, &n);
        for (; n > 1; n -= node_computes(node))
            node = node->next;
    }
    for (size_t i = 0; i < at->module->n_states; i++) {
        const State *state = at->module->states[i];
        expect_near(state->name, type_n_elements(&state->type), at->states[i].data,
                    interpreter_state(at->interpreter, state->name)->data, 1e-10);
    }
}

static void fused_kernels_compute_what_their_nodes_do(void **state) {
    (void)state;
    int n_fused = 0, n_replaced = 0;
    for (uint64_t seed = 0; seed < N_PROGRAMS; seed++) {
        Arena *arena = arena_new();
        uint64_t data_seed;
        Module *module = random_stage(arena, seed, N_STEPS, "layout", &data_seed);
        run_pass(module, "fuse");
        run_pass(module, "schedule");
        run_pass(module, "memory");
        Run run = {.arena = arena, .module = module, .interpreter = interpreter_new(arena, module)};
        random_program_bind(run.interpreter, module, data_seed);
        for (size_t i = 0; i < module->n_graphs; i++)
            run_graph(&run, module->graphs[i]);
        n_fused += run.n_fused;
        n_replaced += run.n_replaced;
        arena_free(arena);
    }
    assert_true(n_fused > 8 * N_PROGRAMS);
    assert_true(n_replaced > N_PROGRAMS);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(fused_kernels_compute_what_their_nodes_do)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
