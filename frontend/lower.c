/* Whole models: main becomes the graphs "forward" and "generate". */
#include "frontend/lower.h"

#include <string.h>

/* ---- main ---------------------------------------------------------------------------------------------------------
 */

/* The sizes in main's `tokens: i32[B, T]`. */
typedef struct {
    Symbol *function;
    Symbol *sequences, *length;
} Main;

/* The size that is dim `i` of main's parameter; NULL if it is none. */
static Symbol *find_main_size(Program *program, const Parameter *parameter, size_t i) {
    const Expr *shape = parameter->shape;
    if (shape->kind != EXPR_LIST || shape->n_items != 2 || shape->items[i]->kind != EXPR_NAME)
        return NULL;
    Symbol *symbol = program_find(program, shape->items[i]->text);
    return symbol != NULL && symbol->kind == SYMBOL_SIZE ? symbol : NULL;
}

static bool find_main(Program *program, Main *out) {
    static const char *const form = "fn main(tokens: i32[B, T]), B and T being sizes";
    *out = (Main){.function = program_find(program, "main")};
    if (out->function == NULL || out->function->kind != SYMBOL_FUNCTION) {
        Loc start = {.file = program->file, .line = 1, .column = 1};
        diagnostics_error(program->diagnostics, (Range){.begin = start, .end_line = 1, .end_column = 1},
                          "the model '%s' has no function main: %s", program->model, form);
        return false;
    }
    const Function *function = out->function->function;
    const Parameter *parameter = function->n_parameters == 1 ? &function->parameters[0] : NULL;
    if (parameter != NULL && parameter->dtype.text != NULL && strcmp(parameter->dtype.text, "i32") == 0) {
        out->sequences = find_main_size(program, parameter, 0);
        out->length = find_main_size(program, parameter, 1);
    }
    if (out->sequences != NULL && out->length != NULL && out->sequences != out->length)
        return true;
    diagnostics_error(program->diagnostics,
                      parameter != NULL ? range_join(parameter->name.range, parameter->shape->range)
                                        : function->name.range,
                      "main must be %s: sequences a micro-batch and tokens a sequence", form);
    return false;
}

/* ---- Graphs -------------------------------------------------------------------------------------------------------
 */

static void start_graph(Lowering *lowering, const char *name, Loc loc) {
    Program *program = lowering->program;
    lowering->builder = (Builder){.graph = module_add_graph(lowering->module, name), .loc = loc};
    lowering->n_variables = lowering->first_variable = lowering->end_carried = 0;
    lowering->path = "";
    lowering->n_scopes = 0;
    lowering->n_steps = 0;
    for (size_t i = 0; i < program->n_symbols; i++)
        program->symbols[i]->n_calls = 0;
}

/* The logits that main returned; NULL after an error. */
static Value *check_logits(Lowering *lowering, const Function *function, const Operand *result, const Type *tokens) {
    Arena *arena = lowering->program->arena;
    if (result->kind == OPERAND_POISON)
        return NULL;
    const Type *type = result->kind == OPERAND_TENSOR ? &result->value->type : NULL;
    if (type != NULL && dtype_is_float(type->dtype) && type->rank == 3 &&
        size_dims_match(&type->dims[0], &tokens->dims[0]) && size_dims_match(&type->dims[1], &tokens->dims[1]))
        return result->value;
    const Expr *value = function->body[function->n_body - 1]->value;
    diagnostics_error(lowering->program->diagnostics, value->range,
                      "main must return logits [%s, %s, vocabulary], and "
                      "this is %s",
                      dim_format(arena, &tokens->dims[0]), dim_format(arena, &tokens->dims[1]),
                      lower_operand_text(lowering, result));
    return NULL;
}

/* Outputs nll, the mean over all tokens of the cross-entropy. */
static void add_loss(Lowering *lowering, Value *logits, Value *targets, Range range) {
    Builder *builder = &lowering->builder;
    Node *loss = lower_node(lowering, range, OP_cross_entropy, 2, (Value *[]){logits, targets}, NULL);
    if (loss == NULL)
        return;
    int64_t dims[] = {0, 1};
    Value *sum = build_reduce_sum(builder, &loss->results[0], dims, 2);
    graph_add_output(builder->graph, "nll", build_scale(builder, sum, 1 / (double)type_n_elements(&targets->type)));
}

static void lower_graph(Lowering *lowering, const Main *entry, const char *name, bool has_loss) {
    const Function *function = entry->function->function;
    const Parameter *parameter = &function->parameters[0];
    Type type = {.dtype = DTYPE_I32};
    bool has_ellipsis;
    if (!lower_shape(lowering, parameter->shape, false, type.dims, &type.rank, &has_ellipsis))
        return;
    const char *problem = type_check(lowering->program->arena, &type);
    if (problem != NULL) {
        diagnostics_error(lowering->program->diagnostics, parameter->shape->range, "the tokens are %s: %s",
                          type_format(lowering->program->arena, &type), problem);
        return;
    }
    start_graph(lowering, name, parameter->name.range.begin);
    Value *tokens = build_input(&lowering->builder, "tokens", &type);
    Value *targets = has_loss ? build_input(&lowering->builder, "targets", &type) : NULL;
    Operand argument = operand_tensor(tokens);
    Operand result = lower_function(lowering, entry->function, &argument, "", function->name.range.begin);
    Value *logits = check_logits(lowering, function, &result, &type);
    if (logits == NULL)
        return;
    graph_add_output(lowering->builder.graph, "logits", logits);
    if (has_loss)
        add_loss(lowering, logits, targets, function->body[function->n_body - 1]->value->range);
}

/* ---- Both graphs --------------------------------------------------------------------------------------------------
 */

static void forget_values(Program *program) {
    for (size_t i = 0; i < program->n_symbols; i++)
        program->symbols[i]->state = SYMBOL_NEW;
}

/* The model once more, for one sequence as long as the window: everything that is defined by the two sizes follows. */
static void lower_generate(Lowering *lowering, const Main *entry) {
    Program *program = lowering->program;
    const LowerOptions *options = program->options;
    Scalar length = {0};
    program_value(program, entry->length, &length);
    int64_t window = options->generate_window > 0 ? options->generate_window : length.size.value;
    SizeOverride *overrides = arena_array_of(program->arena, SizeOverride, options->n_overrides + 2);
    size_t n = 0;
    for (; n < options->n_overrides; n++)
        overrides[n] = options->overrides[n];
    overrides[n++] = (SizeOverride){.name = entry->sequences->name.text, .value = 1};
    overrides[n++] = (SizeOverride){.name = entry->length->name.text, .value = window};
    LowerOptions generate = *options;
    generate.overrides = overrides;
    generate.n_overrides = n;
    program->options = &generate;
    forget_values(program);
    int errors = diagnostics_errors(program->diagnostics);
    lower_graph(lowering, entry, "generate", false);
    if (diagnostics_errors(program->diagnostics) > errors)
        diagnostics_note(program->diagnostics, entry->function->function->parameters[0].name.range,
                         "this is in graph \"generate\", where %s is 1 and %s is %lld, the window to generate in",
                         entry->sequences->name.text, entry->length->name.text, (long long)window);
    program->options = options;
    forget_values(program);
}

bool lower_program(Program *program, Module *module) {
    int errors = diagnostics_errors(program->diagnostics);
    Lowering lowering = {.program = program, .module = module, .weights = {.arena = program->arena}};
    for (size_t i = 0; i < program->n_symbols; i++) {
        Scalar scalar;
        if (program->symbols[i]->kind != SYMBOL_FUNCTION)
            program_value(program, program->symbols[i], &scalar);
    }
    Main entry;
    if (!find_main(program, &entry))
        return false;
    lower_graph(&lowering, &entry, "forward", true);
    if (diagnostics_errors(program->diagnostics) == errors)
        lower_generate(&lowering, &entry);
    return diagnostics_errors(program->diagnostics) == errors;
}
