/* Attention and rotary positions. q[B, T, H, D], k and v [B, T, G, D]: query head h reads key-value head h / (H / G)
   (grouped-query attention, Ainslie et al. 2023). */
#include "ir/interpret_internal.h"

#include <math.h>
#include <string.h>

#include "ir/ops_internal.h"

/* ---- Rotary positions (Su et al. 2021) ----------------------------------------------------------------------- */

/* Llama 3's stretched frequencies: wavelengths, in tokens, beyond original_context / low_freq_factor are made `factor`
   times longer, those below original_context / high_freq_factor stay, and between the two the frequencies blend. */
static double llama3_frequency(const Attrs *attrs, double frequency) {
    double factor = attrs_float(attrs, "factor", 1), original = attrs_float(attrs, "original_context", 1);
    double low = attrs_float(attrs, "low_freq_factor", 1), high = attrs_float(attrs, "high_freq_factor", 1);
    double wavelength = 2 * M_PI / frequency;
    if (wavelength > original / low)
        return frequency / factor;
    if (wavelength < original / high)
        return frequency;
    double smooth = (original / wavelength - low) / (high - low);
    return (1 - smooth) * frequency / factor + smooth * frequency;
}

/* f32[T, D/2, 2]: cosine and sine of t * theta^(-2i / D), the frequency stretched where `scaling` says so. */
void interpret_rope_table(Interpreter *interpreter, const Node *node) {
    Tensor *result = interpreter_result(interpreter, node, 0);
    int64_t n_positions = type_extent(&result->type, 0), n_pairs = type_extent(&result->type, 1);
    double theta = attrs_float(&node->attrs, "theta", 1);
    const char *scaling = attrs_string(&node->attrs, "scaling", "");
    for (int64_t i = 0; i < n_pairs; i++) {
        double frequency = pow(theta, -(double)i / (double)n_pairs);
        if (strcmp(scaling, "llama3") == 0)
            frequency = llama3_frequency(&node->attrs, frequency);
        for (int64_t t = 0; t < n_positions; t++) {
            result->data[(t * n_pairs + i) * 2] = cos((double)t * frequency);
            result->data[(t * n_pairs + i) * 2 + 1] = sin((double)t * frequency);
        }
    }
}

/* (x[B, T, H, D], table[T, D/2, 2]): turns the pairs (x[i], x[i + D/2]) by the angle of their position; with inverse
   = true by the negated angle, which is the transpose and so the gradient. */
void interpret_rope(Interpreter *interpreter, const Node *node) {
    const Tensor *x = interpreter_operand(interpreter, node, 0);
    const Tensor *table = interpreter_operand(interpreter, node, 1);
    Tensor *result = interpreter_result(interpreter, node, 0);
    double direction = attrs_bool(&node->attrs, "inverse", false) ? -1 : 1;
    int64_t n_positions = type_extent(&x->type, 1), n_heads = type_extent(&x->type, 2),
            extent = type_extent(&x->type, 3);
    int64_t n_pairs = extent / 2, n_vectors = type_n_elements(&x->type) / extent;
    for (int64_t vector = 0; vector < n_vectors; vector++) {
        int64_t t = vector / n_heads % n_positions;
        const double *from = x->data + vector * extent;
        double *to = result->data + vector * extent;
        for (int64_t i = 0; i < n_pairs; i++) {
            double cosine = table->data[(t * n_pairs + i) * 2];
            double sine = direction * table->data[(t * n_pairs + i) * 2 + 1];
            to[i] = from[i] * cosine - from[i + n_pairs] * sine;
            to[i + n_pairs] = from[i + n_pairs] * cosine + from[i] * sine;
        }
    }
}

/* ---- Attention ----------------------------------------------------------------------------------------------- */

/* The sizes of an attention node, and which positions see which. */
typedef struct {
    int64_t n_batches, n_positions, n_heads, n_kv_heads, extent;
    int64_t window; /* 0: all earlier positions */
    double scale;
} AttentionShape;

static AttentionShape attention_shape(const Node *node) {
    const Type *q = &node->operands[0]->type, *k = &node->operands[1]->type;
    return (AttentionShape){
        .n_batches = type_extent(q, 0),
        .n_positions = type_extent(q, 1),
        .n_heads = type_extent(q, 2),
        .n_kv_heads = type_extent(k, 2),
        .extent = type_extent(q, 3),
        .window = attrs_int(&node->attrs, "window", 0),
        .scale = attrs_float(&node->attrs, "scale", 1),
    };
}

/* Position t sees positions [first_seen, t]. */
static int64_t first_seen(const AttentionShape *shape, int64_t t) {
    return shape->window > 0 && t >= shape->window ? t - shape->window + 1 : 0;
}

/* Offset of the vector of query head h at (b, t) in a [B, T, H, D] tensor. */
static int64_t query_offset(const AttentionShape *shape, int64_t b, int64_t t, int64_t h) {
    return ((b * shape->n_positions + t) * shape->n_heads + h) * shape->extent;
}

/* Offset of the vector that query head h reads at (b, s) in a [B, T, G, D] tensor. */
static int64_t key_offset(const AttentionShape *shape, int64_t b, int64_t s, int64_t h) {
    int64_t g = h / (shape->n_heads / shape->n_kv_heads);
    return ((b * shape->n_positions + s) * shape->n_kv_heads + g) * shape->extent;
}

/* Offset of (b, t, h) in the logsumexp, [B, H, T]. */
static int64_t logsumexp_offset(const AttentionShape *shape, int64_t b, int64_t t, int64_t h) {
    return (b * shape->n_heads + h) * shape->n_positions + t;
}

static double dot(const double *a, const double *b, int64_t n) {
    double sum = 0;
    for (int64_t i = 0; i < n; i++)
        sum += a[i] * b[i];
    return sum;
}

/* to += factor * from */
static void add_scaled(double *to, double factor, const double *from, int64_t n) {
    for (int64_t i = 0; i < n; i++)
        to[i] += factor * from[i];
}

/* What query head h at t thinks of position s, scaled. */
static double score(const AttentionShape *shape, const double *q, const double *k, int64_t b, int64_t t, int64_t h,
                    int64_t s) {
    return shape->scale * dot(q + query_offset(shape, b, t, h), k + key_offset(shape, b, s, h), shape->extent);
}

/* The largest score over the positions that t sees. */
static double score_maximum(const AttentionShape *shape, const double *q, const double *k, int64_t b, int64_t t,
                            int64_t h) {
    double maximum = -INFINITY;
    for (int64_t s = first_seen(shape, t); s <= t; s++)
        maximum = fmax(maximum, score(shape, q, k, b, t, h, s));
    return maximum;
}

/* (q, k, v) -> out[B, T, H, D], the mean of the values seen under the softmax of their scores, and the logsumexp
   [B, H, T] of the scores. Causal; with window W > 0 position t sees only the last W positions, itself included. */
void interpret_attention(Interpreter *interpreter, const Node *node) {
    const double *q = interpreter_operand(interpreter, node, 0)->data;
    const double *k = interpreter_operand(interpreter, node, 1)->data;
    const double *v = interpreter_operand(interpreter, node, 2)->data;
    double *out = interpreter_result(interpreter, node, 0)->data;
    double *logsumexp = interpreter_result(interpreter, node, 1)->data;
    AttentionShape shape = attention_shape(node);
    int64_t n_queries = shape.n_batches * shape.n_positions * shape.n_heads;
    for (int64_t i = 0; i < n_queries; i++) {
        int64_t h = i % shape.n_heads, t = i / shape.n_heads % shape.n_positions;
        int64_t b = i / shape.n_heads / shape.n_positions;
        double maximum = score_maximum(&shape, q, k, b, t, h), sum = 0;
        double *mean = out + i * shape.extent;
        for (int64_t s = first_seen(&shape, t); s <= t; s++) {
            double weight = exp(score(&shape, q, k, b, t, h, s) - maximum);
            add_scaled(mean, weight, v + key_offset(&shape, b, s, h), shape.extent);
            sum += weight;
        }
        for (int64_t d = 0; d < shape.extent; d++)
            mean[d] /= sum;
        logsumexp[logsumexp_offset(&shape, b, t, h)] = maximum + log(sum);
    }
}

/* The tensors of attention_grad: operands, then results. */
typedef struct {
    const double *q, *k, *v, *out, *logsumexp, *dout;
    double *dq, *dk, *dv;
} AttentionGradient;

/* One query's share of the gradients: with p = exp(score - logsumexp), dscore = p (dout . v - dout . out). */
static void attend_backward(const AttentionShape *shape, const AttentionGradient *at, int64_t b, int64_t t, int64_t h) {
    int64_t query = query_offset(shape, b, t, h), n = shape->extent;
    const double *dout = at->dout + query;
    double mean = dot(dout, at->out + query, n);
    for (int64_t s = first_seen(shape, t); s <= t; s++) {
        int64_t key = key_offset(shape, b, s, h);
        double p = exp(score(shape, at->q, at->k, b, t, h, s) - at->logsumexp[logsumexp_offset(shape, b, t, h)]);
        double dscore = p * (dot(dout, at->v + key, n) - mean);
        add_scaled(at->dv + key, p, dout, n);
        add_scaled(at->dq + query, shape->scale * dscore, at->k + key, n);
        add_scaled(at->dk + key, shape->scale * dscore, at->q + query, n);
    }
}

/* (q, k, v, out, logsumexp, dout) -> dq, dk, dv. */
void interpret_attention_grad(Interpreter *interpreter, const Node *node) {
    AttentionGradient at = {
        .q = interpreter_operand(interpreter, node, 0)->data,
        .k = interpreter_operand(interpreter, node, 1)->data,
        .v = interpreter_operand(interpreter, node, 2)->data,
        .out = interpreter_operand(interpreter, node, 3)->data,
        .logsumexp = interpreter_operand(interpreter, node, 4)->data,
        .dout = interpreter_operand(interpreter, node, 5)->data,
        .dq = interpreter_result(interpreter, node, 0)->data,
        .dk = interpreter_result(interpreter, node, 1)->data,
        .dv = interpreter_result(interpreter, node, 2)->data,
    };
    AttentionShape shape = attention_shape(node);
    for (int64_t b = 0; b < shape.n_batches; b++) {
        for (int64_t t = 0; t < shape.n_positions; t++) {
            for (int64_t h = 0; h < shape.n_heads; h++)
                attend_backward(&shape, &at, b, t, h);
        }
    }
}
