// RUN: %unit %s
/* Each invariant of a module (spec/ir.md, "Invariants"), broken once: what a pass with a bug would leave behind. What
   the text can break, the reader's tests break. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#include "ir/block.h"
#include "tests/support/program.h"

/* What the cases break: the parts of one valid module. */
typedef struct {
    Module *module;
    Arena *arena;
    Graph *graph; /* "main" */
    Node *input, *state, *view, *update, *sum;
} Parts;

typedef struct {
    const char *name;
    void (*damage)(Parts *parts);
    const char *error;
} Case;

static const char *const valid = "file 0 \"m.moe\"\n"
                                 "scope 0 \"main\" path \"\" ordinal 0 parent 0 @0:1:1\n"
                                 "scope 1 \"mlp\" path \"mlp\" ordinal 0 parent 0 @0:2:1\n"
                                 "directive train \"\" {steps = 4 @0:3:1} @0:3:1\n"
                                 "state \"s\" weight : f32[4, 6] {source = \"s\", experts = 4, segments = 2, "
                                 "segment_dim = 0, drop = 0.5, drop_dim = 0, "
                                 "drop_extent = 6} @0:4:1\n"
                                 "state \"t\" moment2 : f32[4, 6]\n"
                                 "graph main {\n"
                                 "  %0 = input {name = \"x\"} : f32[4, 6] @0:5:1 in 1\n"
                                 "  %1 = state {name = \"s\"} : f32[4, 6]\n"
                                 "  %2 = transpose %1 {perm = [1, 0]} : f32[6, 4]\n"
                                 "  %3 = reduce_sum %2 {dims = [0, 1]} : f32[]\n"
                                 "  %4 = accumulate %1, %0 : f32[4, 6]\n"
                                 "  output \"sum\" = %3\n"
                                 "}\n"
                                 "graph other {\n"
                                 "  %0 = input {name = \"x\"} : f32[4, 6]\n"
                                 "  output \"x\" = %0\n"
                                 "}\n";

/* ---- Outside of graphs ------------------------------------------------------------------------------------------ */

static void name_module(Parts *parts) {
    parts->module->name = "two words";
}

static void let_scope_precede_its_parent(Parts *parts) {
    parts->module->scopes[1].parent = 1;
}

static void give_main_a_parent(Parts *parts) {
    parts->module->scopes[0].parent = 1;
}

static void place_scope_in_no_file(Parts *parts) {
    parts->module->scopes[1].loc.file = 1;
}

static void name_directive(Parts *parts) {
    parts->module->directives[0].kind = "1train";
}

static void place_directive_in_no_file(Parts *parts) {
    parts->module->directives[0].loc.file = 7;
}

static void place_attribute_in_no_file(Parts *parts) {
    parts->module->directives[0].attrs.items[0].loc.file = 7;
}

static void repeat_state(Parts *parts) {
    parts->module->states[1]->name = "s";
}

static void invent_kind(Parts *parts) {
    parts->module->states[1]->kind = "moment3";
}

static void make_state_ragged(Parts *parts) {
    parts->module->states[1]->type.dims[0].is_ragged = true;
}

static void empty_state(Parts *parts) {
    parts->module->states[1]->type.dims[1].extent = 0;
}

static void place_state_in_no_file(Parts *parts) {
    parts->module->states[0]->loc.file = 1;
}

static void invent_attribute(Parts *parts) {
    attrs_set_int(parts->arena, &parts->module->states[1]->attrs, "expert", 4);
}

static void set_attribute_of_another_kind(Parts *parts) {
    attrs_set_int(parts->arena, &parts->module->states[0]->attrs, "source", 4);
}

static void invent_init(Parts *parts) {
    attrs_set_string(parts->arena, &parts->module->states[0]->attrs, "init", "uniform");
}

static void miscount_experts(Parts *parts) {
    attrs_set_int(parts->arena, &parts->module->states[0]->attrs, "experts", 6);
}

static void miscount_segments(Parts *parts) {
    attrs_set_int(parts->arena, &parts->module->states[0]->attrs, "segments", 3);
}

static void leave_only_segments(Parts *parts) {
    attrs_remove(&parts->module->states[0]->attrs, "experts");
}

static void cut_along_no_dim(Parts *parts) {
    attrs_set_int(parts->arena, &parts->module->states[0]->attrs, "segment_dim", 1);
}

static void drop_along_no_dim(Parts *parts) {
    attrs_set_int(parts->arena, &parts->module->states[0]->attrs, "drop_dim", -1);
}

static void drop_of_another_extent(Parts *parts) {
    attrs_set_int(parts->arena, &parts->module->states[0]->attrs, "drop_extent", 5);
}

static void tile_by_nothing(Parts *parts) {
    attrs_set_int(parts->arena, &parts->module->states[1]->attrs, "tile", 0);
}

/* ---- Graphs ----------------------------------------------------------------------------------------------------- */

static void name_graph(Parts *parts) {
    parts->graph->name = "";
}

static void repeat_graph(Parts *parts) {
    parts->graph->name = "other";
}

static void break_backward_link(Parts *parts) {
    parts->view->prev = parts->input;
}

static void miscount_nodes(Parts *parts) {
    parts->graph->n_nodes++;
}

static void forget_last(Parts *parts) {
    parts->graph->last = parts->sum;
}

static void close_list_to_ring(Parts *parts) {
    parts->graph->last->next = parts->graph->first;
    parts->graph->first->prev = parts->graph->last;
}

static void let_result_point_elsewhere(Parts *parts) {
    parts->view->results[0].def = parts->sum;
}

static void misnumber_result(Parts *parts) {
    parts->view->results[0].result = 1;
}

static void use_before_definition(Parts *parts) {
    graph_move(parts->graph, parts->view, NULL);
}

static void use_value_of_another_graph(Parts *parts) {
    parts->update->operands[1] = &module_find_graph(parts->module, "other")->first->results[0];
}

static void use_own_result(Parts *parts) {
    parts->sum->operands[0] = &parts->sum->results[0];
}

static void use_nothing(Parts *parts) {
    parts->sum->operands[0] = NULL;
}

static void lose_operand(Parts *parts) {
    parts->update->n_operands = 1;
}

static void lose_attribute(Parts *parts) {
    attrs_remove(&parts->view->attrs, "perm");
}

static void change_result_type(Parts *parts) {
    parts->sum->results[0].type.dtype = DTYPE_BF16;
}

static void place_node_in_no_file(Parts *parts) {
    parts->input->loc.file = 3;
}

static void place_node_in_no_scope(Parts *parts) {
    parts->input->scope = 2;
}

static void read_unknown_state(Parts *parts) {
    attrs_set_string(parts->arena, &parts->state->attrs, "name", "u");
}

static void read_state_as_another_type(Parts *parts) {
    parts->module->states[0]->type.dtype = DTYPE_F16;
}

static void update_input(Parts *parts) {
    parts->update->operands[0] = &parts->input->results[0];
}

static void update_view(Parts *parts) {
    Builder builder = {.graph = parts->graph, .before = parts->update};
    parts->update->operands[0] = build_slice(&builder, &parts->state->results[0], 0, 0, 4);
}

static void update_one_state_twice(Parts *parts) {
    Builder builder = {.graph = parts->graph};
    Value *s = &parts->state->results[0];
    Value *hyper = build_input(&builder, "hyper", &(Type){DTYPE_F32, 1, {{.extent = 7}}});
    Attrs attrs = {0};
    attrs_set_bool(parts->arena, &attrs, "decay", true);
    State *more[2];
    for (int i = 0; i < 2; i++)
        more[i] = module_add_state(parts->module, i ? "m" : "v", "moment1", &s->type, (Loc){0});
    Value *operands[] = {s,     build_state(&builder, more[0]), build_state(&builder, more[1]), s,
                         hyper, &parts->sum->results[0]};
    build(&builder, OP_adamw, 6, operands, &attrs);
}

static void update_by_itself(Parts *parts) {
    parts->update->operands[1] = &parts->state->results[0];
}

static void update_by_view_of_itself(Parts *parts) {
    Builder builder = {.graph = parts->graph, .before = parts->update};
    Value *s = &parts->state->results[0];
    parts->update->operands[1] = build_reshape(&builder, s, &s->type);
}

static void read_view_past_update(Parts *parts) {
    graph_move(parts->graph, parts->sum, NULL);
}

static void view_past_update(Parts *parts) {
    Builder builder = {.graph = parts->graph};
    build_slice(&builder, &parts->view->results[0], 0, 0, 1);
}

static void repeat_input(Parts *parts) {
    Builder builder = {.graph = parts->graph};
    build_input(&builder, "x", &parts->sum->results[0].type);
}

static void repeat_output(Parts *parts) {
    graph_add_output(parts->graph, "sum", &parts->input->results[0]);
}

static void output_value_of_another_graph(Parts *parts) {
    graph_add_output(parts->graph, "x", &module_find_graph(parts->module, "other")->first->results[0]);
}

static void put_view_in_kernel(Parts *parts) {
    parts->view->block = block_new(parts->graph);
}

static void part_kernel(Parts *parts) {
    Builder builder = {.graph = parts->graph};
    Value *last = build_unary(&builder, OP_neg, &parts->sum->results[0]);
    parts->sum->block = last->def->block = block_new(parts->graph);
}

static void part_kernel_by_kernel(Parts *parts) {
    part_kernel(parts);
    parts->update->block = block_new(parts->graph);
}

static void invent_attribute_of_kernel(Parts *parts) {
    parts->sum->block = block_new(parts->graph);
    attrs_set_int(parts->arena, &parts->sum->block->attrs, "form", 1);
}

/* ---- The memory plan -------------------------------------------------------------------------------------------- */

static void plan(Parts *parts, int64_t input, int64_t sum, int n, int64_t n_bytes) {
    attrs_set_ints(parts->arena, &parts->graph->attrs, "offsets", (int64_t[]){input, -1, -1, sum, -1, -1}, n);
    attrs_set_int(parts->arena, &parts->graph->attrs, "arena_bytes", n_bytes);
    attrs_set_int(parts->arena, &parts->graph->attrs, "lower_bound", n_bytes);
}

static void plan_fewer_values(Parts *parts) {
    plan(parts, 0, 128, 4, 192);
}

static void plan_between_lines(Parts *parts) {
    plan(parts, 32, 192, 5, 256);
}

static void plan_below_zero(Parts *parts) {
    plan(parts, -64, 128, 5, 192);
}

static void plan_past_the_end(Parts *parts) {
    plan(parts, 0, 128, 5, 128);
}

static void plan_without_size(Parts *parts) {
    plan(parts, 0, 128, 5, 192);
    attrs_remove(&parts->graph->attrs, "arena_bytes");
}

static void plan_without_bound(Parts *parts) {
    plan(parts, 0, 128, 5, 192);
    attrs_set_bool(parts->arena, &parts->graph->attrs, "lower_bound", true);
}

static const Case cases[] = {
    {"module's name", name_module, "the module's name 'two words' is not a name"},
    {"scope before its parent", let_scope_precede_its_parent,
     "scope 1 has the parent 1, which does not come before it"},
    {"main with a parent", give_main_a_parent, "scope 0 has the parent 1, which does not come before it"},
    {"scope in no file", place_scope_in_no_file, "scope 1 is in file 1 of 1"},
    {"directive's kind", name_directive, "directive 1train \"\": the kind is not a name"},
    {"directive in no file", place_directive_in_no_file, "directive train \"\" is in file 7 of 1"},
    {"attribute in no file", place_attribute_in_no_file, "directive train \"\" is in file 7 of 1"},
    {"state twice", repeat_state, "state \"s\" is there twice"},
    {"state's kind", invent_kind, "state \"t\" is a 'moment3'; it can be a weight, grad, moment1 or moment2"},
    {"ragged state", make_state_ragged, "state \"t\" is ragged"},
    {"empty state", empty_state, "state \"t\" dim 1 is 0; an extent must be at least 1"},
    {"state in no file", place_state_in_no_file, "state \"s\" is in file 1 of 1"},
    {"state's attribute", invent_attribute,
     "state \"t\": it has no attribute 'expert'; its attributes: source:s? init:s? std:f? experts:i? segments:i? "
     "segment_dim:i? scale:f? noise:f? drop:f? drop_dim:i? drop_extent:i? drop_key:s? tile:i? export:s? decay:b?"},
    {"kind of a state's attribute", set_attribute_of_another_kind,
     "state \"s\": attribute 'source' must be a string, and is an integer"},
    {"state's init", invent_init, "state \"s\" has init \"uniform\"; it can be \"normal\", \"zeros\" or \"ones\""},
    {"experts", miscount_experts, "state \"s\" has 6 experts, and is f32[4, 6]"},
    {"segments", miscount_segments, "state \"s\" has 3 segments, of which 4 experts are no multiple"},
    {"segments without experts", leave_only_segments, "state \"s\" has segments and no experts"},
    {"segment_dim", cut_along_no_dim, "state \"s\" has a segment_dim that its experts lack"},
    {"drop_dim", drop_along_no_dim, "state \"s\" has a drop_dim that its experts lack"},
    {"drop_extent", drop_of_another_extent, "state \"s\" has drop_extent 5, and is f32[4, 6]"},
    {"tile", tile_by_nothing, "state \"t\" has tile 0"},
    {"graph's name", name_graph, "the graph's name '' is not a name"},
    {"graph twice", repeat_graph, "graph other is there twice"},
    {"backward link", break_backward_link, "graph main: a node's prev is not the node before it"},
    {"number of nodes", miscount_nodes, "graph main: the list of nodes is not as long as it says"},
    {"last node", forget_last, "graph main: the list of nodes is not as long as it says"},
    {"ring of nodes", close_list_to_ring, "graph main: a node's prev is not the node before it"},
    {"result's node", let_result_point_elsewhere, "graph main: a result does not point back at its node"},
    {"result's number", misnumber_result, "graph main: a result does not point back at its node"},
    {"use before definition", use_before_definition,
     "graph main: %2 = reduce_sum: operand 0 is not defined before it in this graph"},
    {"value of another graph", use_value_of_another_graph,
     "graph main: %4 = accumulate: operand 1 is not defined before it in this graph"},
    {"own result", use_own_result, "graph main: %3 = reduce_sum: operand 0 is not defined before it in this graph"},
    {"no operand", use_nothing, "graph main: %3 = reduce_sum: operand 0 is not defined before it in this graph"},
    {"number of operands", lose_operand, "graph main: %4 = accumulate: it takes 2 operands, and has 1"},
    {"attribute", lose_attribute, "graph main: %2 = transpose: attribute 'perm' is missing; it is a list of integers"},
    {"result's type", change_result_type,
     "graph main: %3 = reduce_sum: result 0 has type bf16[] and should have f32[]"},
    {"node in no file", place_node_in_no_file, "graph main: %0 = input: it is in file 3 of 1"},
    {"node in no scope", place_node_in_no_scope, "graph main: %0 = input: it is in scope 2 of 2"},
    {"unknown state", read_unknown_state, "graph main: %1 = state: the module has no state \"u\""},
    {"state's type", read_state_as_another_type, "graph main: %1 = state: state \"s\" is f16[4, 6], not f32[4, 6]"},
    {"update of an input", update_input, "graph main: %4 = accumulate: operand 0 is written to, and is not a state"},
    {"update of a view", update_view, "graph main: %5 = accumulate: operand 0 is written to, and is not a state"},
    {"one state updated twice by a node", update_one_state_twice,
     "graph main: %8 = adamw: operands 0 and 3 are one state, and both are written to"},
    {"state updated by itself", update_by_itself,
     "graph main: %4 = accumulate: operand 1 reads state \"s\", which the update writes"},
    {"state updated by a view of itself", update_by_view_of_itself,
     "graph main: %5 = accumulate: operand 1 reads state \"s\", which the update writes"},
    {"view read past an update", read_view_past_update,
     "graph main: %4 = reduce_sum: operand 0 is a view of state \"s\" from before an update of it"},
    {"view of a view past an update", view_past_update,
     "graph main: %5 = slice: operand 0 is a view of state \"s\" from before an update of it"},
    {"input twice", repeat_input, "graph main: %5 = input: the graph has two inputs \"x\""},
    {"output twice", repeat_output, "graph main: output \"sum\" is there twice"},
    {"output of another graph", output_value_of_another_graph, "graph main: output \"x\" is not a value of this graph"},
    {"view in a kernel", put_view_in_kernel, "graph main: %2 = transpose: it is in a kernel, and computes nothing"},
    {"kernel in two parts", part_kernel,
     "graph main: %3 = reduce_sum: nodes of other kernels stand between those of its kernel"},
    {"kernel in two parts with one between", part_kernel_by_kernel,
     "graph main: %3 = reduce_sum: nodes of other kernels stand between those of its kernel"},
    {"kernel's attribute", invent_attribute_of_kernel,
     "graph main: %3 = reduce_sum: kernel: attribute 'form' must be a string, and is an integer"},
    {"plan of fewer values", plan_fewer_values, "graph main: offsets has 4 entries for 5 values"},
    {"plan between lines", plan_between_lines, "graph main: value 0 of 96 bytes has offset 32 in an arena of 256"},
    {"plan below zero", plan_below_zero, "graph main: value 0 of 96 bytes has offset -64 in an arena of 192"},
    {"plan past the end", plan_past_the_end, "graph main: value 3 of 4 bytes has offset 128 in an arena of 128"},
    {"plan without size", plan_without_size,
     "graph main: offsets must be a list of integers, with the integers arena_bytes and lower_bound beside it"},
    {"plan without bound", plan_without_bound,
     "graph main: offsets must be a list of integers, with the integers arena_bytes and lower_bound beside it"},
};

enum { N_CASES = sizeof cases / sizeof *cases };

static Node *find_node(const Graph *graph, OpKind op) {
    Node *node = graph->first;
    while (node->op != op)
        node = node->next;
    return node;
}

static void check_case(void **state) {
    const Case *at = *state;
    Program program = program_read(valid);
    Graph *graph = module_find_graph(program.module, "main");
    Parts parts = {.module = program.module,
                   .arena = program.arena,
                   .graph = graph,
                   .input = find_node(graph, OP_input),
                   .state = find_node(graph, OP_state),
                   .view = find_node(graph, OP_transpose),
                   .update = find_node(graph, OP_accumulate),
                   .sum = find_node(graph, OP_reduce_sum)};
    assert_null(module_verify(program.module));
    at->damage(&parts);
    const char *error = module_verify(program.module);
    if (!error)
        fail_msg("the verifier sees nothing");
    assert_string_equal(error, at->error);
    program_free(&program);
}

/* The plan that the damaged ones above are made of. */
static void a_good_plan_passes(void **state) {
    (void)state;
    Program program = program_read(valid);
    Parts parts = {.arena = program.arena, .graph = module_find_graph(program.module, "main")};
    plan(&parts, 0, 128, 5, 192);
    assert_null(module_verify(program.module));
    program_free(&program);
}

int main(void) {
    struct CMUnitTest tests[N_CASES + 1];
    for (size_t i = 0; i < N_CASES; i++)
        tests[i] = (struct CMUnitTest){cases[i].name, check_case, NULL, NULL, (void *)(uintptr_t)&cases[i]};
    tests[N_CASES] = (struct CMUnitTest)cmocka_unit_test(a_good_plan_passes);
    return _cmocka_run_group_tests("verifier", tests, N_CASES + 1, NULL, NULL);
}
