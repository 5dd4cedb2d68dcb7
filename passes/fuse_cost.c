/* What a kernel costs: the bytes that it moves, and the time that these, its FLOPs and its launch may take. */
#include "ir/block.h"
#include "passes/fuse.h"

/* A machine of a few cores: what counts is how these compare. Products' own FLOPs are not here: fusing leaves them. */
#define BYTES_PER_SECOND 40e9
#define MAP_FLOPS_PER_SECOND 100e9
/* The same while an operand is packed, where rows are short. */
#define PACK_FLOPS_PER_SECOND 50e9
#define LAUNCH_SECONDS 2e-6
/* Packed rows of the right operand that are kept while all of the left one is packed and multiplied. */
#define KEPT_BYTES 8e6
/* A row that is read again for another phase of a kernel is still in the cache up to this size. */
#define ROW_CACHE_BYTES 256e3

/* ---- Bytes and FLOPs -------------------------------------------------------------------------------------------- */

/* Of one owner of storage the largest part that is read counts, once. */
static double count_read(Fuse *fuse, Value *value) {
    Value *owner = view_owner(value);
    double n_bytes = (double)type_n_bytes(&value->type), n_all = (double)type_n_bytes(&owner->type);
    n_bytes = n_bytes < n_all ? n_bytes : n_all;
    uint32_t number = owner->number;
    double known = fuse->marked_reads[number] == fuse->n_marks ? fuse->read_bytes[number] : 0;
    fuse->marked_reads[number] = fuse->n_marks;
    fuse->read_bytes[number] = n_bytes > known ? n_bytes : known;
    return n_bytes > known ? n_bytes - known : 0;
}

bool fuse_escapes(const Fuse *fuse, const Value *value) {
    IndexList readers = index_list(&fuse->readers, value->number);
    bool escapes = fuse->is_output[value->number];
    for (uint32_t i = 0; i < readers.n && !escapes; i++)
        escapes = fuse->marked_units[readers.items[i]] != fuse->n_marks;
    return escapes;
}

static void count_results(const Fuse *fuse, const Node *node, FuseCost *cost) {
    for (int i = 0; i < node->n_results; i++) {
        const Value *value = &node->results[i];
        if (view_source(value) || fuse_escapes(fuse, value))
            cost->bytes_out += (double)type_n_bytes(&value->type);
    }
}

FuseCost fuse_count(Fuse *fuse, Node *const *nodes, size_t n) {
    FuseCost cost = {0};
    fuse->n_marks++;
    for (size_t i = 0; i < n; i++)
        fuse->marked_units[fuse_unit_of(fuse, nodes[i])] = fuse->n_marks;
    for (size_t i = 0; i < n; i++) {
        const Node *node = nodes[i];
        for (int j = 0; j < node->n_operands; j++) {
            const Node *owner = view_owner(node->operands[j])->def;
            bool is_inside = node_computes(owner) && fuse->marked_units[fuse_unit_of(fuse, owner)] == fuse->n_marks;
            if (owner->op != OP_constant && !is_inside)
                cost.bytes_in += count_read(fuse, node->operands[j]);
        }
        count_results(fuse, node, &cost);
        cost.flops += node_flops(node);
    }
    return cost;
}

/* ---- Time ------------------------------------------------------------------------------------------------------- */

static double map_flops(Node *const *nodes, size_t n) {
    double flops = 0;
    for (size_t i = 0; i < n; i++)
        flops += fuse_is_skeleton(nodes[i]) ? 0 : node_flops(nodes[i]);
    return flops;
}

/* How often a kernel goes over the columns of a row before the node's result is there. */
static int n_phases_of(const Node *node, Role role) {
    if (node->op == OP_softmax)
        return 2;
    if (node->op == OP_logsumexp)
        return 2;
    return op_info(node->op)->class == OP_CLASS_REDUCE && role == ROLE_ROW ? 1 : node->op == OP_cross_entropy;
}

/* How often a kernel of rows goes over the columns: once more for each sum that what follows it needs. */
static int n_phases(const Space *space) {
    int phases[SPACE_MAX_NODES], most = 1; /* over before the node's result is there */
    for (size_t i = 0; i < space->n_nodes; i++) {
        const Node *node = space->nodes[i];
        phases[i] = 0;
        for (int j = 0; j < node->n_operands; j++) {
            int source = space_find(space, view_owner(node->operands[j])->def);
            if (source >= 0 && phases[source] > phases[i])
                phases[i] = phases[source];
        }
        phases[i] += n_phases_of(node, space->roles[i]);
        int needed = phases[i] + (space->roles[i] != ROLE_ROW);
        most = needed > most ? needed : most;
    }
    return most;
}

static void time_rows(const Space *space, FuseCost *cost) {
    int phases = n_phases(space);
    double row_bytes = (cost->bytes_in + cost->bytes_out) / (double)space->n_rows;
    double n_reads = row_bytes > ROW_CACHE_BYTES ? phases : 1;
    double moving = (cost->bytes_in * n_reads + cost->bytes_out) / BYTES_PER_SECOND;
    double computing = map_flops(space->nodes, space->n_nodes) * phases / MAP_FLOPS_PER_SECOND;
    cost->seconds += moving > computing ? moving : computing;
}

/* The left operand is packed again for each part of the right one that the cache keeps. */
static double n_packs(const Space *space, int operand) {
    double packs = 1;
    for (int i = 0; i < space->n_products; i++) {
        const SpaceProduct *product = &space->products[i];
        const Type *rhs = &space->operands[product->rhs].value->type;
        double n_groups = product->node->op == OP_grouped_matmul && rhs->rank == 3 ? (double)rhs->dims[0].extent : 1;
        double n = (double)type_n_bytes(rhs) / n_groups / KEPT_BYTES;
        if (product->lhs == operand && n > packs)
            packs = n;
    }
    return packs;
}

static void time_product(const Space *space, FuseCost *cost) {
    cost->seconds += (cost->bytes_in + cost->bytes_out) / BYTES_PER_SECOND +
                     map_flops(space->nodes, space->n_nodes) / MAP_FLOPS_PER_SECOND;
    for (int i = 0; i < space->n_operands; i++) {
        const Space *part = space->operands[i].part;
        if (part)
            cost->seconds += n_packs(space, i) * map_flops(part->nodes, part->n_nodes) / PACK_FLOPS_PER_SECOND;
    }
}

/* What is computed for many tiles is computed once, in front of them. */
static void time_attention(const Space *space, FuseCost *cost) {
    double flops = 0;
    for (int i = 0; i < space->n_operands; i++)
        flops +=
            space->operands[i].part ? map_flops(space->operands[i].part->nodes, space->operands[i].part->n_nodes) : 0;
    for (int i = 0; i < SPACE_MAX_RESULTS; i++)
        flops += space->bodies[i] ? map_flops(space->bodies[i]->nodes, space->bodies[i]->n_nodes) : 0;
    cost->seconds += (cost->bytes_in + cost->bytes_out) / BYTES_PER_SECOND + flops / PACK_FLOPS_PER_SECOND;
}

void fuse_time(const Space *space, FuseCost *cost) {
    cost->seconds = LAUNCH_SECONDS;
    if (!space) {
        cost->seconds += (cost->bytes_in + cost->bytes_out) / BYTES_PER_SECOND;
        return;
    }
    if (space->kind == SPACE_PRODUCT)
        time_product(space, cost);
    else if (space->kind == SPACE_ATTENTION)
        time_attention(space, cost);
    else
        time_rows(space, cost);
    if (space->top_k)
        cost->seconds += node_flops(space->top_k) / MAP_FLOPS_PER_SECOND;
}

bool fuse_pays_to_turn_again(const Node *rope, int n) {
    double n_bytes = (double)type_n_bytes(&rope->results[0].type);
    return n * node_flops(rope) / PACK_FLOPS_PER_SECOND < LAUNCH_SECONDS + 2 * n_bytes / BYTES_PER_SECOND;
}
