/* What one evaluation of a node costs: FLOPs by the rows of ops.def, and the bytes that have to move.

   An add, a multiply, a comparison and a transcendental count as one FLOP each. Of a causal attention only the pairs
   that are attended to count. Ragged tensors count their capacity. */
#include "ir/ir.h"

#include <string.h>

#include "ir/ops_internal.h"
#include "ir/view.h"

static double n_elements(const Value *value) {
    return (double)type_n_elements(&value->type);
}

double node_flops(const Node *node) {
    return op_info(node->op)->flops(node);
}

double node_bytes(const Node *node) {
    OpClass class = op_info(node->op)->class;
    if (class == OP_CLASS_LEAF || class == OP_CLASS_VIEW)
        return 0;
    double bytes = 0;
    for (int i = 0; i < node->n_operands; i++)
        bytes += (double)type_n_bytes(&node->operands[i]->type);
    for (int i = 0; i < node->n_results; i++)
        bytes += (double)type_n_bytes(&node->results[i].type);
    return bytes;
}

/* FLOPs that a machine does while a byte moves between it and its memory: about a CPU's, 500 GFLOP/s beside 80 GB/s.
   Where it is larger, as on a GPU, only matrix products seem dearer here than they are. */
enum { FLOPS_PER_BYTE = 6 };

/* Attention reaches no more than about such a part of the FLOP/s of a matrix product: exponentials stand between its
   products, and these are small. */
enum { ATTENTION_SLOWNESS = 4 };

/* Of what a view repeats, or leaves out, only what there is moves. */
static double moved_bytes(Value *value) {
    double shown = (double)type_n_bytes(&value->type), there = (double)type_n_bytes(&view_owner(value)->type);
    return shown < there ? shown : there;
}

double node_time(const Node *node) {
    OpClass class = op_info(node->op)->class;
    if (class == OP_CLASS_LEAF || class == OP_CLASS_VIEW)
        return 0;
    double bytes = 0, result_bytes = 0;
    for (int i = 0; i < node->n_results; i++)
        result_bytes += (double)type_n_bytes(&node->results[i].type);
    for (int i = 0; i < node->n_operands; i++) {
        double operand_bytes = moved_bytes(node->operands[i]);
        bool is_picked = node->op == OP_gather && i == 0 && operand_bytes > result_bytes; /* rows of a larger table */
        bytes += is_picked ? result_bytes : operand_bytes;
    }
    double slowness = node->op == OP_attention || node->op == OP_attention_grad ? ATTENTION_SLOWNESS : 1;
    double flops_time = slowness * node_flops(node) / FLOPS_PER_BYTE;
    return flops_time > bytes + result_bytes ? flops_time : bytes + result_bytes;
}

double flops_none(const Node *node) {
    (void)node;
    return 0;
}

double flops_map1(const Node *node) {
    return n_elements(&node->results[0]);
}

double flops_map4(const Node *node) {
    return 4 * n_elements(&node->results[0]);
}

double flops_map8(const Node *node) {
    return 8 * n_elements(&node->results[0]);
}

double flops_map16(const Node *node) {
    return 16 * n_elements(&node->results[0]);
}

double flops_map1_operand(const Node *node) {
    return n_elements(node->operands[0]);
}

double flops_sum_squares(const Node *node) {
    double n = 0;
    for (int i = 0; i < node->n_operands; i++)
        n += n_elements(node->operands[i]);
    return 2 * n;
}

double flops_reduce(const Node *node) {
    return n_elements(node->operands[0]) - n_elements(&node->results[0]);
}

/* Maximum, shift, exponential, sum. */
double flops_logsumexp(const Node *node) {
    return 4 * n_elements(node->operands[0]);
}

double flops_scatter_add(const Node *node) {
    return n_elements(node->operands[0]);
}

/* Two for each multiply-add: every element of the result sums over the contracted dims. */
double flops_matmul(const Node *node) {
    const Type *a = &node->operands[0]->type;
    bool is_tn = strcmp(attrs_string(&node->attrs, "mode", ""), "tn") == 0;
    double last = (double)type_extent(a, -1);
    double summed = is_tn ? n_elements(node->operands[0]) / last : last;
    return 2 * summed * n_elements(&node->results[0]);
}

/* As if every row of the capacity were in use, each by one group. */
double flops_grouped_matmul(const Node *node) {
    const Type *a = &node->operands[0]->type, *b = &node->operands[1]->type;
    bool is_tn = strcmp(attrs_string(&node->attrs, "mode", ""), "tn") == 0;
    if (is_tn)
        return 2 * n_elements(node->operands[0]) * (double)b->dims[1].extent;
    return 2 * (double)a->dims[1].extent * n_elements(&node->results[0]);
}

/* Angle, cosine and sine of each pair. */
double flops_rope_table(const Node *node) {
    return 3 * n_elements(&node->results[0]) / 2;
}

/* Two multiplies and an add for each element. */
double flops_rope(const Node *node) {
    return 3 * n_elements(&node->results[0]);
}

/* Query-key pairs of all heads: each position sees itself and those before it, at most `window` of them. */
static double n_attended_pairs(const Node *node) {
    const Type *q = &node->operands[0]->type;
    double length = (double)q->dims[1].extent;
    double window = (double)attrs_int(&node->attrs, "window", 0);
    if (window == 0 || window > length)
        window = length;
    double pairs = window * (window + 1) / 2 + (length - window) * window;
    return (double)q->dims[0].extent * (double)q->dims[2].extent * pairs;
}

/* Two products over D, and four operations of softmax. */
double flops_attention(const Node *node) {
    double head_dim = (double)node->operands[0]->type.dims[3].extent;
    return n_attended_pairs(node) * (4 * head_dim + 4);
}

/* Five products over D: the scores again, and the gradients of values, probabilities, queries and keys. */
double flops_attention_grad(const Node *node) {
    double head_dim = (double)node->operands[0]->type.dims[3].extent;
    return n_attended_pairs(node) * (10 * head_dim + 6);
}

double flops_cross_entropy(const Node *node) {
    return 4 * n_elements(node->operands[0]);
}

/* k passes over the row. */
double flops_top_k(const Node *node) {
    return (double)attrs_int(&node->attrs, "k", 0) * n_elements(node->operands[0]);
}

/* Two moments, two corrections, a root, a quotient, the decay and the step. */
double flops_adamw(const Node *node) {
    return 16 * n_elements(node->operands[0]);
}
