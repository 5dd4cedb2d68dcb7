#include "codegen/lower.h"

#include <assert.h>

#include "ir/view.h"

void lower_none(NodeLowering *at) {
    (void)at;
}

void lower_space(NodeLowering *at) {
    (void)at;
    assert(false && "it always has a space");
}

uint32_t lower_argument(NodeLowering *at, const char *name, Value *value, int64_t n_elements, FormAccess access) {
    LoweredBlock *lowered = at->lowered;
    Form *form = lowered->form;
    View view;
    bool has_map = view_of(value, &view);
    assert(has_map);
    (void)has_map;
    FormArg arg = {.name = name, .dtype = value->type.dtype, .n_elements = n_elements, .access = access};
    LoweredArgument place = {.owner = view.owner, .offset = view.offset};
    arena_push(at->arena, form->args, form->n_args, form->args_capacity, arg);
    arena_push(at->arena, lowered->arguments, lowered->n_arguments, at->capacity, place);
    return (uint32_t)form->n_args - 1;
}

uint32_t lower_operand(NodeLowering *at, const char *name, int operand) {
    Value *value = at->node->operands[operand];
    return lower_argument(at, name, value, type_n_elements(&value->type), FORM_IN);
}

uint32_t lower_result(NodeLowering *at, const char *name, int result) {
    Value *value = &at->node->results[result];
    return lower_argument(at, name, value, type_n_elements(&value->type), FORM_OUT);
}

void lower_index(NodeLowering *at, const char *name, int64_t extent, bool is_col) {
    FormBody *body = &at->lowered->form->body;
    assert(body->n_indices < FORM_MAX_INDICES);
    body->indices[body->n_indices++] = (FormIndex){name, extent, is_col};
}

uint32_t lower_instr(NodeLowering *at, FormInstr instr) {
    return form_add(at->arena, &at->lowered->form->body, instr);
}

uint32_t lower_map(NodeLowering *at, OpKind op, uint32_t a, uint32_t b) {
    return lower_instr(at, (FormInstr){.op = FORM_MAP, .map_op = op, .a = a, .b = b, .map.gather = FORM_NONE});
}

uint32_t lower_read(NodeLowering *at, FormAccessMap map, uint32_t otherwise) {
    bool is_integer = at->lowered->form->args[map.arg].dtype == DTYPE_I32;
    FormOp op = is_integer ? FORM_POSITION : FORM_LOAD;
    return lower_instr(at, (FormInstr){.op = op, .a = otherwise, .map = map, .divisor = 1});
}

void lower_store(NodeLowering *at, FormAccessMap map, uint32_t value) {
    lower_instr(at, (FormInstr){.op = FORM_STORE, .a = value, .map = map});
}
