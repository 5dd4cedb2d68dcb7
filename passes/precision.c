/* Precision: which values are bf16. The rule stands in spec/numerics.md, "Precision".

   In: a module, with a directive `precision "bf16"` or without. Out: with it, what matrix products and attention read
   is bf16, by nodes to_bf16 right behind what makes it, and so is what is made of their results, which others read
   through nodes to_f32 of their own: a kernel widens what it reads, and nothing is stored twice. What moves elements
   moves bf16. After the passes that derive products from products and move what is around them, which change nothing
   but rounding as long as nothing is rounded. */
#include <assert.h>
#include <string.h>

#include "ir/block.h"
#include "ir/names.h"
#include "ir/view.h"
#include "passes/passes.h"
#include "passes/simplify.h"

/* Below it in either direction of its matrix, a product takes less time than what is around it. */
enum { MIN_EXTENT = 32 };

enum { MAX_RESULTS = 4 };

/* What is known of a node (Node.scratch). */
typedef struct {
    bool is_choosing; /* a top_k reads its result, through other ops but through no product */
    bool is_scoring;  /* a loss or a softmax reads its result, or it is logits, through maps and moves at most */
    bool is_output;
    int n_users;
    Node *user;                    /* the last of them */
    Value *rounded[MAX_RESULTS];   /* the same in bf16, or NULL */
    bool is_replaced[MAX_RESULTS]; /* all that comes behind reads it as that */
} Known;

typedef struct {
    Graph *graph;
    Arena *arena;  /* the pass's own */
    Names updated; /* states that the graph writes */
} Precision;

static Known *known_of(Precision *at, Node *node) {
    if (!node->scratch)
        node->scratch = arena_new_of(at->arena, Known);
    return node->scratch;
}

static bool is_product(const Node *node) {
    return op_info(node->op)->class == OP_CLASS_CONTRACT;
}

static bool is_view(const Node *node) {
    return op_info(node->op)->class == OP_CLASS_VIEW;
}

/* ---- What is to be bf16 ----------------------------------------------------------------------------------------- */

static bool is_of_weight(const Node *product) {
    return strcmp(attrs_string(&product->attrs, "mode", ""), "tn") == 0;
}

/* Rows or columns of the matrix: of operand b, and in mode tn of the result. */
static bool is_small(const Node *product) {
    const Type *matrix = is_of_weight(product) ? &product->results[0].type : &product->operands[1]->type;
    return type_extent(matrix, -1) < MIN_EXTENT || type_extent(matrix, -2) < MIN_EXTENT;
}

/* What reads f16 is left alone: there is no rounding from it. */
static bool reads_f16(const Node *node) {
    for (int i = 0; i < node->n_operands; i++)
        if (node->operands[i]->type.dtype == DTYPE_F16)
            return true;
    return false;
}

static bool is_bf16_product(Precision *at, Node *node) {
    return is_product(node) && !known_of(at, node)->is_choosing && !is_small(node) && !reads_f16(node);
}

/* How many of the node's operands, the first ones, are to be bf16; attention_grad's fifth is a logsumexp. */
static int n_rounded_operands(Precision *at, Node *node) {
    if (reads_f16(node))
        return 0;
    switch (node->op) {
    case OP_attention:
        return 3;
    case OP_attention_grad:
        return 6;
    case OP_combine:
        return type_extent(&node->operands[0]->type, -1) >= MIN_EXTENT && node->operands[0]->type.rank > 1;
    default:
        return is_bf16_product(at, node) ? 2 : 0;
    }
}

/* What reads bf16 and gives f32. */
static bool takes_bf16(const Node *node) {
    return node->op == OP_combine || node->op == OP_grouped_sum || node->op == OP_scatter_add;
}

/* What moves elements without computing, or, as rope, hardly: of bf16 it makes bf16. Its first operand; of concat all.
 */
static bool moves(const Node *node) {
    return is_view(node) || node->op == OP_dispatch || node->op == OP_concat || node->op == OP_pad ||
           node->op == OP_rope || node->op == OP_copy;
}

static int n_moved(const Node *node) {
    return node->op == OP_concat ? node->n_operands : 1;
}

static bool reads_scores(const Node *node) {
    return node->op == OP_cross_entropy || node->op == OP_cross_entropy_grad || node->op == OP_softmax ||
           node->op == OP_logsumexp;
}

static void find_scores(Precision *at) {
    for (size_t i = 0; i < at->graph->n_outputs; i++) {
        const Output *output = &at->graph->outputs[i];
        known_of(at, output->value->def)->is_scoring |= strcmp(output->name, "logits") == 0;
    }
    for (Node *node = at->graph->last; node; node = node->prev) {
        bool goes_on = op_info(node->op)->class == OP_CLASS_MAP || moves(node);
        int n = known_of(at, node)->is_scoring && goes_on ? node->n_operands : reads_scores(node);
        for (int i = 0; i < n; i++)
            known_of(at, node->operands[i]->def)->is_scoring = true;
    }
}

static void survey(Precision *at) {
    for (Node *node = at->graph->first; node; node = node->next)
        node->scratch = NULL;
    for (Node *node = at->graph->first; node; node = node->next) {
        for (int i = 0; i < node->n_operands; i++) {
            Known *operand = known_of(at, node->operands[i]->def);
            operand->n_users++;
            operand->user = node;
        }
        bool is_update = op_info(node->op)->class == OP_CLASS_UPDATE;
        for (int i = 0; i < node->n_results && is_update; i++) {
            const Node *state = view_owner(node->operands[i])->def;
            names_add(&at->updated, attrs_string(&state->attrs, "name", ""), 0);
        }
    }
    for (Node *node = at->graph->last; node; node = node->prev) {
        bool is_read = node->op == OP_top_k || (known_of(at, node)->is_choosing && !is_product(node));
        for (int i = 0; is_read && i < node->n_operands; i++)
            known_of(at, node->operands[i]->def)->is_choosing = true;
    }
    for (size_t i = 0; i < at->graph->n_outputs; i++)
        known_of(at, view_owner(at->graph->outputs[i].value)->def)->is_output = true;
    find_scores(at);
}

/* ---- A value in bf16 -------------------------------------------------------------------------------------------- */

static Builder builder_behind(Precision *at, const Node *node) {
    return (Builder){.graph = at->graph, .before = node->next, .loc = node->loc, .scope = node->scope};
}

static Value *round_of(Builder *builder, Value *value) {
    Value *rounded = build_unary(builder, OP_to_bf16, value);
    rounded->hint = value->hint;
    return rounded;
}

static Value *bf16_of(Precision *at, Value *value, Node *reader);

/* The node again, on operands of bf16. */
static Value *move_again(Precision *at, Node *node, Node *reader) {
    Value **operands = arena_array_of(at->arena, Value *, node->n_operands);
    for (int i = 0; i < node->n_operands; i++)
        operands[i] = i < n_moved(node) ? bf16_of(at, node->operands[i], reader) : node->operands[i];
    Builder builder = builder_behind(at, node);
    Type type = node->results[0].type;
    const char *error;
    type.dtype = DTYPE_BF16;
    if (view_owner(&node->results[0])->def->op == OP_state)
        builder.before = reader;
    Node *again = build_typed(&builder, node->op, node->n_operands, operands, &node->attrs, &type, &error);
    again->results[0].hint = node->results[0].hint;
    return &again->results[0];
}

/* Whether the graph writes the state, so that what is read of it depends on where. */
static bool is_updated(const Precision *at, const Node *state) {
    size_t index;
    return state->op == OP_state && names_find(&at->updated, attrs_string(&state->attrs, "name", ""), &index);
}

/* Rope is followed by rounding where nothing is rounded yet. */
static bool moves_rounded(Precision *at, const Node *node) {
    const Node *source = view_owner(node->operands[0])->def;
    bool is_rounded = source->results[0].type.dtype == DTYPE_BF16 || known_of(at, (Node *)source)->is_replaced[0];
    return node->op == OP_rope || node->op == OP_copy ? is_rounded : moves(node);
}

/* The value in bf16, for the reader; a copy of a weight stands before the first one. */
static Value *bf16_of(Precision *at, Value *value, Node *reader) {
    Node *node = value->def;
    Known *known = known_of(at, node);
    if (value->type.dtype == DTYPE_BF16)
        return value;
    if (node->op == OP_to_f32)
        return node->operands[0];
    if (known->rounded[value->result])
        return known->rounded[value->result];
    Builder builder = builder_behind(at, node);
    Value *rounded;
    if (node->op == OP_state) {
        builder.before = reader;
        rounded = round_of(&builder, value);
    } else if (node->op == OP_constant) {
        Type type = value->type;
        type.dtype = DTYPE_BF16;
        rounded = build_constant(&builder, attrs_float(&node->attrs, "value", 0), &type);
    } else if (node->n_operands > 0 && moves_rounded(at, node)) {
        rounded = move_again(at, node, reader);
    } else {
        rounded = round_of(&builder, value);
    }
    if (!is_updated(at, view_owner(value)->def))
        known->rounded[value->result] = rounded;
    return rounded;
}

/* ---- Results ---------------------------------------------------------------------------------------------------- */

/* Whether the value is a weight for each row: the same for all of them, or for all of an expert's. */
static bool is_bias(Value *value) {
    const Node *node = value->def;
    bool is_repeated = node->op == OP_broadcast || node->op == OP_grouped_broadcast;
    return is_repeated && view_owner(node->operands[0])->def->op == OP_state;
}

/* Whether the value is an operand of a sum that goes on: of products, or of a product and a bias. */
static bool is_term(Precision *at, Value *value) {
    if (is_bias(value))
        return true;
    while (is_view(value->def) && known_of(at, value->def)->n_users == 1)
        value = value->def->operands[0];
    if (known_of(at, value->def)->n_users != 1)
        return false;
    if (value->def->op == OP_add)
        return is_term(at, value->def->operands[0]) && is_term(at, value->def->operands[1]);
    return is_bf16_product(at, value->def);
}

/* What stands for a product's result: itself, or the sum that it is a term of, with other products or a bias. */
static Value *sum_of(Precision *at, Value *value) {
    Value *sum = value;
    for (Known *known = known_of(at, value->def); known->n_users == 1; known = known_of(at, value->def)) {
        Node *user = known->user;
        bool goes_on = user->op == OP_reshape ||
                       (user->op == OP_add && is_term(at, user->operands[0]) && is_term(at, user->operands[1]));
        if (!goes_on)
            break;
        value = &user->results[0];
        sum = user->op == OP_add ? value : sum;
    }
    return sum;
}

/* Whether it is added to something else and read by nobody besides: it needs no place of its own. */
static bool is_just_added(Precision *at, const Value *value) {
    const Node *user = value->def;
    do {
        if (known_of(at, (Node *)user)->n_users != 1)
            return false;
        user = known_of(at, (Node *)user)->user;
    } while (is_view(user));
    return user->op == OP_add;
}

/* All that comes behind the value reads it rounded. */
static void replace(Precision *at, Value *value) {
    Known *known = known_of(at, value->def);
    if (known->is_output || known->is_choosing || known->is_scoring || known->n_users == 0)
        return;
    bf16_of(at, value, value->def);
    known->is_replaced[value->result] = true;
}

static void round_results(Precision *at, Node *node) {
    if (node->op == OP_attention && !reads_f16(node)) {
        replace(at, &node->results[0]);
        return;
    }
    if (!is_bf16_product(at, node) || is_of_weight(node) || known_of(at, node)->is_output)
        return;
    Value *sum = sum_of(at, &node->results[0]);
    if (!is_just_added(at, sum))
        replace(at, sum);
}

/* ---- Operands --------------------------------------------------------------------------------------------------- */

/* What now stands for the value: it, or the same in bf16. */
static Value *current(Precision *at, Value *value) {
    const Known *known = known_of(at, value->def);
    return known->is_replaced[value->result] ? known->rounded[value->result] : value;
}

/* What is made for whoever runs the graph stays of its type, and is made again in bf16 for others. */
static bool moves_bf16(Precision *at, Node *node) {
    bool is = moves(node) && (!known_of(at, node)->is_output || node->results[0].type.dtype == DTYPE_BF16);
    for (int i = 0; i < n_moved(node) && is; i++)
        is = current(at, node->operands[i])->type.dtype == DTYPE_BF16;
    return is;
}

static void set_operand(Precision *at, Node *node, int i, bool takes) {
    Value *value = current(at, node->operands[i]);
    Builder builder = {.graph = at->graph, .before = node, .loc = node->loc, .scope = node->scope};
    node->operands[i] = value->type.dtype == DTYPE_BF16 && !takes ? build_unary(&builder, OP_to_f32, value) : value;
}

static void set_operands(Precision *at, Node *node) {
    int n_rounded = n_rounded_operands(at, node);
    bool is_moving = node->n_operands > 0 && moves_bf16(at, node);
    for (int i = 0; i < node->n_operands; i++) {
        bool is_logsumexp = node->op == OP_attention_grad && i == 4;
        if (i < n_rounded && !is_logsumexp)
            node->operands[i] = bf16_of(at, node->operands[i], node);
        else
            set_operand(at, node, i, (is_moving && i < n_moved(node)) || (takes_bf16(node) && i == 0));
    }
    if (is_moving)
        node->results[0].type.dtype = DTYPE_BF16;
}

/* ---- The pass --------------------------------------------------------------------------------------------------- */

static DType *dtypes_of_outputs(Arena *arena, const Graph *graph) {
    DType *dtypes = arena_array_of(arena, DType, graph->n_outputs);
    for (size_t i = 0; i < graph->n_outputs; i++)
        dtypes[i] = graph->outputs[i].value->type.dtype;
    return dtypes;
}

/* Who runs the graph reads its outputs as what they were before. */
static void check_outputs(const Graph *graph, const DType *dtypes) {
    for (size_t i = 0; i < graph->n_outputs; i++)
        assert(graph->outputs[i].value->type.dtype == dtypes[i]);
    (void)graph;
    (void)dtypes;
}

static void round_graph(Graph *graph) {
    Arena *arena = arena_new();
    Precision at = {.graph = graph, .arena = arena, .updated.arena = arena};
    size_t n = 0;
    Node **nodes = arena_array_of(arena, Node *, graph->n_nodes);
    graph_forget_plan(graph);
    graph_forget_blocks(graph);
    const DType *dtypes = dtypes_of_outputs(arena, graph);
    survey(&at);
    for (Node *node = graph->first; node; node = node->next)
        nodes[n++] = node;
    for (size_t i = 0; i < n; i++) {
        set_operands(&at, nodes[i]);
        round_results(&at, nodes[i]);
    }
    check_outputs(graph, dtypes);
    graph_remove_dead(graph);
    arena_free(arena);
}

bool precision_run(Module *module, Reporter *reporter) {
    const Directive *directive = module_find_directive(module, "precision");
    if (!directive || strcmp(directive->name, "f32") == 0)
        return true;
    if (strcmp(directive->name, "bf16") != 0) {
        report_error(reporter, module, directive->loc, "precision is \"%s\"; it must be \"f32\" or \"bf16\"",
                     directive->name);
        return false;
    }
    for (size_t i = 0; i < module->n_graphs; i++)
        round_graph(module->graphs[i]);
    return true;
}
