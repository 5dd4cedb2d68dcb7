/* The interpreter's engine: storage of states, inputs and values, the walk over a graph, and the leaf ops.

   In: a module, bound states and inputs. Out: the values of one graph, the states it has written. Never here: what an
   op computes; that is in interpret_*.c, one function a row of ops.def.

   Values live in slots, one a value number, which later runs of any graph use again: a run allocates only where a slot
   is too small, so that thousands of runs (gradient checks) need the memory of one. */
#include "ir/interpret.h"

#include <assert.h>
#include <string.h>

#include "ir/interpret_internal.h"
#include "ir/ops_internal.h"
#include "ir/scalar.h"

/* A named tensor: a state or an input. Allocated singly, so that pointers to it stay valid. */
typedef struct {
    const char *name;
    Tensor tensor;
} Binding;

typedef struct {
    Binding **items;
    size_t n, capacity;
} Bindings;

/* Storage of one value number, kept between runs. */
typedef struct {
    double *data;
    int64_t n_elements;
} Slot;

struct Interpreter {
    Arena *arena;
    const Module *module;
    Bindings states, inputs;
    Tensor *values; /* by value number, of the graph of the last run; data NULL until the op asks for its result */
    Slot *slots;    /* by value number */
    size_t n_slots;
    const Graph *graph; /* of the last run, or NULL */
    const char *error;  /* first failure of this run, or NULL */
};

Tensor tensor_new(Arena *arena, const Type *type) {
    return (Tensor){.type = *type, .data = arena_array_of(arena, double, type_n_elements(type))};
}

Interpreter *interpreter_new(Arena *arena, const Module *module) {
    Interpreter *interpreter = arena_new_of(arena, Interpreter);
    interpreter->arena = arena;
    interpreter->module = module;
    return interpreter;
}

/* ---- States and inputs --------------------------------------------------------------------------------------- */

static Tensor *bindings_find(const Bindings *bindings, const char *name) {
    for (size_t i = 0; i < bindings->n; i++) {
        if (strcmp(bindings->items[i]->name, name) == 0)
            return &bindings->items[i]->tensor;
    }
    return NULL;
}

static Tensor *bindings_add(Arena *arena, Bindings *bindings, const char *name, const Type *type) {
    Binding *binding = arena_new_of(arena, Binding);
    binding->name = arena_strdup(arena, name);
    binding->tensor = tensor_new(arena, type);
    arena_push(arena, bindings->items, bindings->n, bindings->capacity, binding);
    return &binding->tensor;
}

static void tensor_copy(Tensor *to, const Tensor *from) {
    memcpy(to->data, from->data, sizeof(double) * (size_t)type_n_elements(&to->type));
}

Tensor *interpreter_state(Interpreter *interpreter, const char *name) {
    Tensor *found = bindings_find(&interpreter->states, name);
    if (found)
        return found;
    const State *state = module_find_state(interpreter->module, name);
    return state ? bindings_add(interpreter->arena, &interpreter->states, name, &state->type) : NULL;
}

void interpreter_set_state(Interpreter *interpreter, const char *name, Tensor value) {
    Tensor *state = interpreter_state(interpreter, name);
    assert(state && type_equal(&state->type, &value.type));
    tensor_copy(state, &value);
}

void interpreter_set_input(Interpreter *interpreter, const char *name, Tensor value) {
    Tensor *input = bindings_find(&interpreter->inputs, name);
    if (!input)
        input = bindings_add(interpreter->arena, &interpreter->inputs, name, &value.type);
    if (!type_equal(&input->type, &value.type)) /* graphs may have inputs of one name and several types */
        *input = tensor_new(interpreter->arena, &value.type);
    tensor_copy(input, &value);
}

Tensor *interpreter_input(Interpreter *interpreter, const char *name) {
    return bindings_find(&interpreter->inputs, name);
}

/* ---- A run --------------------------------------------------------------------------------------------------- */

/* Numbers the graph's values and makes room for that many; none has its storage yet. */
static void interpreter_prepare(Interpreter *interpreter, const Graph *graph) {
    uint32_t n_values = graph_number(graph);
    if (n_values > interpreter->n_slots) {
        Slot *slots = arena_array_of(interpreter->arena, Slot, n_values);
        if (interpreter->n_slots)
            memcpy(slots, interpreter->slots, sizeof *slots * interpreter->n_slots);
        interpreter->slots = slots;
        interpreter->n_slots = n_values;
        interpreter->values = arena_array_of(interpreter->arena, Tensor, n_values);
    }
    for (size_t i = 0; i < interpreter->n_slots; i++)
        interpreter->values[i].data = NULL;
    interpreter->graph = graph;
    interpreter->error = NULL;
}

/* Whatever the op computes. */
static void round_results(Interpreter *interpreter, const Node *node) {
    for (int i = 0; i < node->n_results; i++) {
        const Tensor *tensor = interpreter_value(interpreter, &node->results[i]);
        int64_t n_elements = tensor && tensor->type.dtype == DTYPE_BF16 ? type_n_elements(&tensor->type) : 0;
        for (int64_t j = 0; j < n_elements; j++)
            tensor->data[j] = scalar_round_bf16(tensor->data[j]);
    }
}

const char *interpreter_run(Interpreter *interpreter, const Graph *graph) {
    interpreter_prepare(interpreter, graph);
    for (const Node *node = graph->first; node && !interpreter->error; node = node->next) {
        op_info(node->op)->interpret(interpreter, node);
        round_results(interpreter, node);
    }
    return interpreter->error;
}

Tensor *interpreter_value(Interpreter *interpreter, const Value *value) {
    Tensor *tensor = &interpreter->values[value->number];
    return tensor->data ? tensor : NULL;
}

Tensor *interpreter_output(Interpreter *interpreter, const char *name) {
    const Value *value = interpreter->graph ? graph_find_output(interpreter->graph, name) : NULL;
    return value ? interpreter_value(interpreter, value) : NULL;
}

/* ---- For the ops --------------------------------------------------------------------------------------------- */

Tensor *interpreter_operand(Interpreter *interpreter, const Node *node, int operand) {
    assert(operand < node->n_operands);
    Tensor *tensor = &interpreter->values[node->operands[operand]->number];
    assert(tensor->data && "operands come before their users");
    return tensor;
}

/* The result's storage, zeroed when the op first asks for it. */
Tensor *interpreter_result(Interpreter *interpreter, const Node *node, int result) {
    assert(result < node->n_results);
    const Value *value = &node->results[result];
    Tensor *tensor = &interpreter->values[value->number];
    if (tensor->data)
        return tensor;
    Slot *slot = &interpreter->slots[value->number];
    int64_t n_elements = type_n_elements(&value->type);
    if (slot->n_elements < n_elements)
        *slot = (Slot){.data = arena_array_of(interpreter->arena, double, n_elements), .n_elements = n_elements};
    memset(slot->data, 0, sizeof(double) * (size_t)n_elements);
    *tensor = (Tensor){.type = value->type, .data = slot->data};
    return tensor;
}

void interpreter_alias_result(Interpreter *interpreter, const Node *node, int result, const Tensor *storage) {
    const Value *value = &node->results[result];
    interpreter->values[value->number] = (Tensor){.type = value->type, .data = storage->data};
}

void interpreter_fail(Interpreter *interpreter, const Node *node, const char *format, ...) {
    if (interpreter->error)
        return;
    va_list arguments;
    va_start(arguments, format);
    const char *reason = arena_vprintf(interpreter->arena, format, arguments);
    va_end(arguments);
    const Module *module = interpreter->module;
    const char *place = "";
    if (node->loc.line && node->loc.file < module->n_files)
        place = arena_printf(interpreter->arena, "%s:%u:%u: ", module->files[node->loc.file], node->loc.line,
                             node->loc.column);
    interpreter->error = arena_printf(interpreter->arena, "%sgraph %s: %%%u = %s: %s", place, interpreter->graph->name,
                                      node->n_results ? node->results[0].number : 0, op_info(node->op)->name, reason);
}

bool interpreter_check_index(Interpreter *interpreter, const Node *node, const char *what, double index,
                             int64_t extent) {
    if (index >= 0 && index < (double)extent)
        return true;
    interpreter_fail(interpreter, node, "%s %.17g is out of range: expected 0 to %lld", what, index,
                     (long long)(extent - 1));
    return false;
}

/* ---- Leaves -------------------------------------------------------------------------------------------------- */

void interpret_input(Interpreter *interpreter, const Node *node) {
    const char *name = attrs_string(&node->attrs, "name", "");
    const Tensor *input = bindings_find(&interpreter->inputs, name);
    const Type *expected = &node->results[0].type;
    if (!input) {
        interpreter_fail(interpreter, node, "input \"%s\" is not bound: expected %s", name,
                         type_format(interpreter->arena, expected));
        return;
    }
    if (!type_equal(&input->type, expected)) {
        interpreter_fail(interpreter, node, "input \"%s\" is bound to %s: expected %s", name,
                         type_format(interpreter->arena, &input->type), type_format(interpreter->arena, expected));
        return;
    }
    tensor_copy(interpreter_result(interpreter, node, 0), input);
}

/* The state's own storage, not a copy: an update further down writes there. */
void interpret_state(Interpreter *interpreter, const Node *node) {
    const char *name = attrs_string(&node->attrs, "name", "");
    const Tensor *state = interpreter_state(interpreter, name);
    if (!state || !type_equal(&state->type, &node->results[0].type)) {
        interpreter_fail(interpreter, node, "the module has no state \"%s\" of type %s", name,
                         type_format(interpreter->arena, &node->results[0].type));
        return;
    }
    interpreter_alias_result(interpreter, node, 0, state);
}

void interpret_constant(Interpreter *interpreter, const Node *node) {
    Tensor *result = interpreter_result(interpreter, node, 0);
    double value = attrs_float(&node->attrs, "value", 0);
    int64_t n_elements = type_n_elements(&result->type);
    for (int64_t i = 0; i < n_elements; i++)
        result->data[i] = value;
}
