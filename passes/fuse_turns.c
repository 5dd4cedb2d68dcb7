/* Queries and keys that are turned by their positions for attention, turned again for its gradient: where they are read
   that costs less than a kernel that turns them and leaves them in memory. What they are turned from is kept from the
   forward half to the backward one instead, which is as large. */
#include "passes/fuse.h"

enum { MAX_READERS = 4 };

/* The readers of one rope (Node.scratch), all of which are attention or its gradient. */
typedef struct {
    Node *readers[MAX_READERS]; /* in list order */
    int n;
    bool has_others;
} Turn;

/* Attention that reads bf16 reads it from memory. */
static bool is_turn(const Node *node) {
    return node->op == OP_rope && node->results[0].type.dtype != DTYPE_BF16;
}

static void note_reader(Node *reader, int operand) {
    Turn *turn = reader->operands[operand]->def->scratch;
    if (!turn)
        return;
    bool is_known = turn->n > 0 && turn->readers[turn->n - 1] == reader;
    if (!fuse_is_skeleton(reader) || op_info(reader->op)->class == OP_CLASS_CONTRACT || is_known ||
        turn->n == MAX_READERS)
        turn->has_others = true;
    else
        turn->readers[turn->n++] = reader;
}

static void find_turns(Arena *arena, const Graph *graph) {
    for (Node *node = graph->first; node; node = node->next) {
        node->scratch = is_turn(node) ? arena_new_of(arena, Turn) : NULL;
        for (int i = 0; i < node->n_operands; i++)
            note_reader(node, i);
    }
    for (size_t i = 0; i < graph->n_outputs; i++) {
        Turn *turn = graph->outputs[i].value->def->scratch;
        if (turn)
            turn->has_others = true;
    }
}

/* The first reader keeps the node that is there. */
static void turn_again(Graph *graph, Node *node, Node *reader) {
    Builder builder = {.graph = graph, .before = reader, .loc = node->loc, .scope = node->scope};
    const char *error;
    Node *again =
        build_typed(&builder, node->op, node->n_operands, node->operands, &node->attrs, &node->results[0].type, &error);
    again->results[0].hint = node->results[0].hint;
    for (int i = 0; i < reader->n_operands; i++)
        reader->operands[i] = reader->operands[i] == &node->results[0] ? &again->results[0] : reader->operands[i];
}

void fuse_split_turns(Graph *graph) {
    Arena *arena = arena_new();
    find_turns(arena, graph);
    for (Node *node = graph->first; node; node = node->next) {
        const Turn *turn = node->scratch;
        if (!turn || turn->has_others || !fuse_pays_to_turn_again(node, turn->n))
            continue;
        for (int i = 1; i < turn->n; i++)
            turn_again(graph, node, turn->readers[i]);
    }
    arena_free(arena);
}
