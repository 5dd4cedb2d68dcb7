// RUN: %unit %s
/* The memory plan of random programs: run on a map of the arena that knows whose bytes are whose, every kernel finds
   its operands whole, and writes over none of them but where it may. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "ir/block.h"
#include "ir/in_place.h"
#include "ir/view.h"
#include "passes/passes.h"
#include "tests/support/program.h"
#include "tests/support/random_blocks.h"
#include "tests/support/stages.h"

enum { N_PROGRAMS = 30, N_STEPS = 14, CELL = 64 };

/* ---- The arena as a map of owners ------------------------------------------------------------------------------ */

typedef struct {
    const Graph *graph;
    const int64_t *offsets;
    int64_t n_cells;
    const Value **owners; /* by cell of 64 bytes: the value last written there */
} Map;

static bool has_place(const Map *map, const Value *value) {
    return map->offsets[value->number] >= 0;
}

static int64_t n_cells_of(const Value *value) {
    return (type_n_bytes(&value->type) + CELL - 1) / CELL;
}

static void write_value(Map *map, const Value *value) {
    if (!has_place(map, value))
        return;
    int64_t first = map->offsets[value->number] / CELL;
    assert_int_equal(map->offsets[value->number] % CELL, 0);
    for (int64_t i = 0; i < n_cells_of(value); i++) {
        assert_true(first + i < map->n_cells);
        map->owners[first + i] = value;
    }
}

static void expect_whole(const Map *map, const Value *value, const char *reader) {
    if (!has_place(map, value))
        return;
    int64_t first = map->offsets[value->number] / CELL;
    for (int64_t i = 0; i < n_cells_of(value); i++) {
        const Value *owner = map->owners[first + i];
        if (owner != value)
            fail_msg("%s reads %%%u, of which %%%u has overwritten a part", reader, value->number,
                     owner ? owner->number : 0);
    }
}

static Map map_of(Arena *arena, const Graph *graph) {
    int n_values;
    Map map = {.graph = graph, .offsets = attrs_ints(&graph->attrs, "offsets", &n_values)};
    map.n_cells = attrs_int(&graph->attrs, "arena_bytes", -1) / CELL;
    map.owners = arena_array_of(arena, const Value *, map.n_cells);
    assert_int_equal(n_values, graph_number(graph));
    return map;
}

/* A gradient in the arena. */
static bool is_gradient(const Module *module, const Node *node) {
    const State *state =
        node->op == OP_state ? module_find_state(module, attrs_string(&node->attrs, "name", "")) : NULL;
    return state && gradients_are_in_arena(module) && strcmp(state->kind, "grad") == 0;
}

/* The gradient that the node writes first, or NULL. */
static Value *started_gradient(const Module *module, const Node *node) {
    bool starts = node->op == OP_accumulate && attrs_bool(&node->attrs, "starts", false);
    return starts && is_gradient(module, node->operands[0]->def) ? node->operands[0] : NULL;
}

/* The node that writes the gradient first, or NULL: another graph has. */
static const Node *gradient_start(const Graph *graph, const Value *gradient) {
    const Node *node = graph->first;
    while (node && started_gradient(graph->module, node) != gradient)
        node = node->next;
    return node;
}

/* The nodes of a kernel: one, or those of a block. */
typedef struct {
    Node **nodes;
    size_t n;
} Run;

static Run run_of(Arena *arena, Node *first) {
    Run run = {.nodes = arena_new_of(arena, Node *), .n = 1};
    if (first->block)
        run.nodes = block_nodes(arena, first, &run.n);
    else
        run.nodes[0] = first;
    return run;
}

/* The result that the kernel writes where the value lies, or NULL. */
static Value *written_over(const Map *map, const Run *run, const Value *value) {
    for (size_t n = 0; n < run->n && has_place(map, value); n++) {
        for (int i = 0; i < run->nodes[n]->n_results; i++) {
            Value *result = &run->nodes[n]->results[i];
            if (result != value && map->offsets[result->number] == map->offsets[value->number])
                return result;
        }
    }
    return NULL;
}

static void expect_replaceable(Arena *arena, const Run *run, Value *result, const Value *value) {
    const char *reason;
    const Space *space = space_of(arena, run->nodes, run->n, &reason);
    if (!space || !space_can_replace(space, result, value))
        fail_msg("%%%u is written over %%%u", result->number, value->number);
}

/* Results are written before operands are looked at: a kernel may write while it reads. What it writes over is looked
   at before, and is not there afterwards. */
static void run_kernel(Map *map, Arena *arena, const Run *run) {
    for (size_t n = 0; n < run->n; n++) {
        for (int i = 0; i < run->nodes[n]->n_operands; i++) {
            const Value *operand = view_owner(run->nodes[n]->operands[i]);
            Value *result = written_over(map, run, operand);
            if (!result)
                continue;
            expect_whole(map, operand, op_info(run->nodes[n]->op)->name);
            expect_replaceable(arena, run, result, operand);
        }
    }
    for (size_t n = 0; n < run->n; n++) {
        const Value *gradient = started_gradient(map->graph->module, run->nodes[n]);
        if (gradient)
            write_value(map, gradient);
        for (int i = 0; i < run->nodes[n]->n_results; i++)
            write_value(map, &run->nodes[n]->results[i]);
    }
    for (size_t n = 0; n < run->n; n++) {
        const Node *node = run->nodes[n];
        for (int i = 0; i < node->n_results; i++)
            expect_whole(map, &node->results[i], op_info(node->op)->name);
        for (int i = 0; i < node->n_operands; i++) {
            const Value *operand = view_owner(node->operands[i]);
            if (!written_over(map, run, operand))
                expect_whole(map, operand, op_info(node->op)->name);
        }
    }
}

static bool reads(const Node *node, const Value *value) {
    for (int i = 0; i < node->n_operands && node_computes(node); i++) {
        if (view_owner(node->operands[i]) == value)
            return true;
    }
    return false;
}

static bool is_output(const Graph *graph, const Value *value) {
    for (size_t i = 0; i < graph->n_outputs; i++) {
        if (view_owner(graph->outputs[i].value) == value)
            return true;
    }
    return false;
}

/* Whether anything outside of the value's block needs it. */
static bool is_read_outside(const Graph *graph, const Value *value) {
    bool is_read = is_output(graph, value);
    for (const Node *node = graph->first; node && !is_read; node = node->next)
        is_read = node->block != value->def->block && reads(node, value);
    return is_read;
}

/* Exactly the values with storage of their own have an offset; attention writes its logsumexp in any case. */
static void check_places(const Map *map) {
    for (const Node *node = map->graph->first; node; node = node->next) {
        bool is_kernel = node_computes(node) && op_info(node->op)->class != OP_CLASS_UPDATE;
        for (int i = 0; i < node->n_results; i++) {
            bool is_inside =
                node->block && !is_read_outside(map->graph, &node->results[i]) && !(node->op == OP_attention && i == 1);
            bool is_filled = node->op == OP_input || is_gradient(map->graph->module, node) || (is_kernel && !is_inside);
            assert_int_equal(has_place(map, &node->results[i]), is_filled);
        }
    }
}

/* Inputs, and gradients that another graph has left. */
static bool is_there_first(const Graph *graph, const Node *node) {
    return node->op == OP_input || (is_gradient(graph->module, node) && !gradient_start(graph, &node->results[0]));
}

/* Gradients that this graph leaves. */
static void expect_gradients(const Map *map) {
    for (const Node *node = map->graph->first; node; node = node->next) {
        if (is_gradient(map->graph->module, node) && gradient_start(map->graph, &node->results[0]))
            expect_whole(map, &node->results[0], "the end");
    }
}

static void check_plan(const Graph *graph) {
    Arena *arena = arena_new();
    Map map = map_of(arena, graph);
    check_places(&map);
    for (const Node *node = graph->first; node; node = node->next) {
        if (is_there_first(graph, node))
            write_value(&map, &node->results[0]);
    }
    for (const Node *node = graph->first; node; node = node->next) {
        if (is_there_first(graph, node))
            expect_whole(&map, &node->results[0], "the start");
    }
    for (Node *node = graph->first; node; node = node->next) {
        if (!node_computes(node))
            continue;
        Run run = run_of(arena, node);
        run_kernel(&map, arena, &run);
        node = run.nodes[run.n - 1];
    }
    for (size_t i = 0; i < graph->n_outputs; i++)
        expect_whole(&map, view_owner(graph->outputs[i].value), graph->outputs[i].name);
    expect_gradients(&map);
    arena_free(arena);
}

/* ---- The lower bound, by its definition ------------------------------------------------------------------------- */

/* Whether `value` is needed at `node` or later. */
static bool is_needed(const Graph *graph, const Value *value, const Node *node) {
    bool needs = value->def == node || is_output(graph, value);
    for (; node && !needs; node = node->next)
        needs = reads(node, value);
    return needs;
}

/* What is written over in a kernel counts once. */
static int64_t shared_cells(const Map *map, const Run *run) {
    int64_t n_cells = 0;
    for (size_t n = 0; n < run->n; n++) {
        for (int i = 0; i < run->nodes[n]->n_results; i++) {
            const Value *result = &run->nodes[n]->results[i];
            bool is_shared = false;
            for (size_t m = 0; m < run->n && has_place(map, result); m++) {
                for (int j = 0; j < run->nodes[m]->n_operands; j++) {
                    const Value *operand = view_owner(run->nodes[m]->operands[j]);
                    is_shared = is_shared || written_over(map, run, operand) == result;
                }
            }
            n_cells += is_shared ? n_cells_of(result) : 0;
        }
    }
    return n_cells;
}

static bool stands_by(const Node *node, const Node *last) {
    while (last && last != node)
        last = last->prev;
    return last;
}

/* Of the values defined up to `last`, inputs in any case, those needed from `node` on. What starts a gradient defines
   it, and the next graph needs it. */
static int64_t live_cells(const Map *map, const Node *last, const Node *node) {
    int64_t n_cells = 0;
    bool is_past = !last;
    for (const Node *def = map->graph->first; def; def = def->next) {
        for (int i = 0; i < def->n_results; i++) {
            const Value *value = &def->results[i];
            bool is_live =
                (is_there_first(map->graph, def) || !is_past) && (!last || is_needed(map->graph, value, node));
            const Node *start = is_gradient(map->graph->module, def) ? gradient_start(map->graph, value) : NULL;
            if (start)
                is_live = stands_by(start, last);
            n_cells += has_place(map, value) && is_live ? n_cells_of(value) : 0;
        }
        is_past = is_past || def == last;
    }
    return n_cells;
}

static void check_lower_bound(const Graph *graph) {
    Arena *arena = arena_new();
    Map map = map_of(arena, graph);
    int64_t largest = live_cells(&map, NULL, graph->first); /* all inputs, before anything runs */
    for (Node *node = graph->first; node; node = node->next) {
        if (!node_computes(node))
            continue;
        Run run = run_of(arena, node);
        node = run.nodes[run.n - 1];
        int64_t n_cells = live_cells(&map, node, run.nodes[0]) - shared_cells(&map, &run);
        largest = n_cells > largest ? n_cells : largest;
    }
    for (const Node *node = graph->first; node; node = node->next) {
        const Value *value = &node->results[0];
        if (!is_gradient(graph->module, node) || gradient_start(graph, value))
            continue;
        int64_t end = map.offsets[value->number] / CELL + n_cells_of(value); /* where another graph has put it */
        largest = end > largest ? end : largest;
    }
    assert_int_equal(attrs_int(&graph->attrs, "lower_bound", -1), largest * CELL);
    assert_true(attrs_int(&graph->attrs, "arena_bytes", -1) >= largest * CELL);
    arena_free(arena);
}

/* ---- Tests ------------------------------------------------------------------------------------------------------ */

static void random_programs_run_in_their_arena(void **state) {
    (void)state;
    double n_bytes = 0, bound = 0;
    for (uint64_t seed = 0; seed < N_PROGRAMS; seed++) {
        Arena *arena = arena_new();
        uint64_t data_seed;
        const Module *module = random_stage(arena, seed, N_STEPS, "memory", &data_seed);
        for (size_t i = 0; i < module->n_graphs; i++) {
            check_plan(module->graphs[i]);
            check_lower_bound(module->graphs[i]);
            n_bytes += (double)attrs_int(&module->graphs[i]->attrs, "arena_bytes", 0);
            bound += (double)attrs_int(&module->graphs[i]->attrs, "lower_bound", 0);
        }
        arena_free(arena);
    }
    if (n_bytes > 1.05 * bound)
        fail_msg("plans need %.0f bytes on average, the bound is %.0f", n_bytes / N_PROGRAMS, bound / N_PROGRAMS);
}

/* Values in any order, as before schedule and layout: views without affine map, outputs that are inputs. */
static void any_graph_has_a_plan(void **state) {
    (void)state;
    for (uint64_t seed = 100; seed < 100 + N_PROGRAMS / 2; seed++) {
        Arena *arena = arena_new();
        uint64_t data_seed;
        Module *module = random_stage(arena, seed, N_STEPS, "optimizer", &data_seed);
        run_pass(module, "memory");
        for (size_t i = 0; i < module->n_graphs; i++) {
            check_plan(module->graphs[i]);
            check_lower_bound(module->graphs[i]);
        }
        arena_free(arena);
    }
}

static void random_blocks_run_in_their_arena(void **state) {
    (void)state;
    for (uint64_t seed = 0; seed < N_PROGRAMS; seed++) {
        Arena *arena = arena_new();
        uint64_t data_seed;
        Module *module = random_stage(arena, seed, N_STEPS, "layout", &data_seed);
        random_blocks(module, seed);
        run_pass(module, "schedule");
        run_pass(module, "memory");
        for (size_t i = 0; i < module->n_graphs; i++) {
            check_plan(module->graphs[i]);
            check_lower_bound(module->graphs[i]);
        }
        arena_free(arena);
    }
}

static void inputs_without_readers_are_whole_at_the_start(void **state) {
    (void)state;
    Program program = program_read("graph main {\n"
                                   "  %a = input {name = \"a\"} : f32[16]\n"
                                   "  %b = exp %a : f32[16]\n"
                                   "  %c = input {name = \"c\"} : f32[32]\n"
                                   "  output \"b\" = %b\n"
                                   "}\n");
    run_pass(program.module, "memory");
    check_plan(program.module->graphs[0]);
    check_lower_bound(program.module->graphs[0]);
    assert_int_equal(attrs_int(&program.module->graphs[0]->attrs, "arena_bytes", 0), 192);
    program_free(&program);
}

/* Byte counts add up beyond an int64_t: an error, no plan. */
static void too_many_bytes_are_an_error(void **state) {
    (void)state;
    Arena *arena = arena_new();
    Module *module = module_new(arena, "huge");
    Builder builder = {.graph = module_add_graph(module, "main")};
    Type type = {.dtype = DTYPE_F32, .rank = 1, .dims = {{.extent = MAX_ELEMENTS}}};
    Value *x = build_input(&builder, "x", &type);
    for (int i = 0; i < 1 << 14; i++)
        x = build_unary(&builder, OP_neg, x);
    graph_add_output(builder.graph, "y", x);
    char *text;
    size_t n_bytes;
    FILE *out = open_memstream(&text, &n_bytes);
    PlainReporter reporter;
    plain_reporter_init(&reporter, out);
    assert_true(schedule_run(module, &reporter.base));
    assert_false(memory_run(module, &reporter.base));
    fclose(out);
    assert_int_equal(reporter.base.n_errors, 1);
    assert_string_equal(text, "error: the values of graph \"main\" have more bytes than can be counted: make the "
                              "micro-batch, the sequence or the model smaller\n");
    free(text);
    arena_free(arena);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(random_programs_run_in_their_arena),
        cmocka_unit_test(any_graph_has_a_plan),
        cmocka_unit_test(random_blocks_run_in_their_arena),
        cmocka_unit_test(inputs_without_readers_are_whole_at_the_start),
        cmocka_unit_test(too_many_bytes_are_an_error),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
