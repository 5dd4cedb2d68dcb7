/* Rows that are gathered for products of several shapes, gathered again for each: while an operand is packed that costs
   no more than reading the rows where they were put, and they are put nowhere. */
#include <string.h>

#include "ir/block.h"
#include "passes/fuse.h"

enum { MAX_READERS = 16 };

/* The readers of one gather (Node.scratch), which has no others. */
typedef struct {
    Node *readers[MAX_READERS]; /* products, in list order */
    int n;
    bool has_others;
} Gather;

/* Products of one kernel. */
typedef struct {
    Node *nodes[1 + SPACE_MAX_PRODUCTS]; /* the gather, then the products */
    size_t n;
} Sharers;

static bool is_gather(const Node *node) {
    return node->op == OP_dispatch && node->results[0].type.rank > 1;
}

bool fuse_only_gathers(const FuseGroup *group) {
    return group->n_nodes == 1 && is_gather(group->nodes[0]);
}

static void note_reader(Node *reader, int operand) {
    Gather *gather = reader->operands[operand]->def->scratch;
    if (!gather)
        return;
    bool is_product = op_info(reader->op)->class == OP_CLASS_CONTRACT;
    bool is_known = gather->n > 0 && gather->readers[gather->n - 1] == reader;
    if (!is_product || is_known || gather->n == MAX_READERS)
        gather->has_others = true;
    else
        gather->readers[gather->n++] = reader;
}

static void find_gathers(Arena *arena, const Graph *graph) {
    for (Node *node = graph->first; node; node = node->next) {
        node->scratch = is_gather(node) ? arena_new_of(arena, Gather) : NULL;
        for (int i = 0; i < node->n_operands; i++)
            note_reader(node, i);
    }
    for (size_t i = 0; i < graph->n_outputs; i++) {
        Gather *gather = graph->outputs[i].value->def->scratch;
        if (gather)
            gather->has_others = true;
    }
}

/* Whether the nodes of the kernel and one more product can be one, and hold no more bytes at a time than the rows have,
   which are then read once for both. */
static bool can_join(Arena *arena, const Held *held, const Sharers *sharers, Node *product) {
    Node *nodes[2 + SPACE_MAX_PRODUCTS];
    const char *reason;
    if (sharers->n == 1 + SPACE_MAX_PRODUCTS)
        return false;
    memcpy(nodes, sharers->nodes, sizeof *nodes * sharers->n);
    nodes[sharers->n] = product;
    HeldKernel before = {sharers->nodes + 1, sharers->n - 1}, more = {&product, 1};
    if (held_bytes(held, before, more) > type_n_bytes(&sharers->nodes[0]->results[0].type))
        return false;
    return space_of(arena, nodes, sharers->n + 1, &reason);
}

/* The readers as kernels of one gather each; how many, or 0 where one can't gather. */
static int share_out(Arena *arena, const Held *held, Node *node, bool allows_siblings, Sharers *sharers) {
    const Gather *gather = node->scratch;
    int n = 0;
    for (int i = 0; i < gather->n; i++) {
        int j = allows_siblings ? 0 : n;
        while (j < n && !can_join(arena, held, &sharers[j], gather->readers[i]))
            j++;
        if (j == n) {
            sharers[n++] = (Sharers){.nodes = {node}, .n = 1};
            if (!can_join(arena, held, &sharers[j], gather->readers[i]))
                return 0;
        }
        sharers[j].nodes[sharers[j].n++] = gather->readers[i];
    }
    return n;
}

/* The first kernel keeps the gather that is there. */
static void gather_again(Graph *graph, Node *node, const Sharers *sharers) {
    Node *first = sharers->nodes[1];
    Builder builder = {.graph = graph, .before = first, .loc = node->loc, .scope = node->scope};
    const char *error;
    Node *again =
        build_typed(&builder, node->op, node->n_operands, node->operands, &node->attrs, &node->results[0].type, &error);
    again->results[0].hint = node->results[0].hint;
    again->results[0].number = node->results[0].number; /* the same to who counts readers */
    for (size_t i = 1; i < sharers->n; i++) {
        Node *product = sharers->nodes[i];
        for (int j = 0; j < product->n_operands; j++)
            product->operands[j] = product->operands[j]->def == node ? &again->results[0] : product->operands[j];
    }
}

void fuse_split_gathers(Graph *graph, bool allows_siblings) {
    Arena *arena = arena_new();
    Held held = held_of(arena, graph);
    find_gathers(arena, graph);
    for (Node *node = graph->first; node; node = node->next) {
        const Gather *gather = is_gather(node) ? node->scratch : NULL;
        Sharers sharers[MAX_READERS];
        if (!gather || gather->has_others)
            continue;
        for (int i = share_out(arena, &held, node, allows_siblings, sharers) - 1; i > 0; i--)
            gather_again(graph, node, &sharers[i]);
    }
    arena_free(arena);
}
