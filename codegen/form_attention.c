/* Attention and its gradient as forms: their tensors, and what they mean. */
#include <math.h>

#include "codegen/form_internal.h"
#include "ir/scalar.h"

/* ---- Tensors --------------------------------------------------------------------------------------------------- */

typedef struct {
    const char *name;
    bool has_kv_heads;
} TensorRow;

static const TensorRow tensors[] = {
#define X(id, name, has_kv_heads) [ATTENTION_##id] = {name, has_kv_heads},
    FORM_ATTENTION_TENSORS(X)
#undef X
};

bool form_is_attention(const Form *form) {
    return form->kind == FORM_KIND_ATTENTION || form->kind == FORM_KIND_ATTENTION_GRAD;
}

int form_attention_n_tensors(const Form *form) {
    return form->kind == FORM_KIND_ATTENTION ? ATTENTION_LOGSUMEXP + 1 : ATTENTION_N_TENSORS;
}

int form_attention_first_result(const Form *form) {
    return form->kind == FORM_KIND_ATTENTION ? ATTENTION_OUT : ATTENTION_DQ;
}

const char *form_attention_name(int tensor) {
    return tensors[tensor].name;
}

FormBody form_attention_indices(const Form *form, int tensor) {
    FormBody body = {.n_indices = form->body.n_indices, .yield = FORM_NONE};
    for (int i = 0; i < body.n_indices; i++)
        body.indices[i] = form->body.indices[i];
    if (tensors[tensor].has_kv_heads)
        body.indices[ATTENTION_HEAD].extent /= form->attention.n_shared;
    if (tensor == ATTENTION_LOGSUMEXP)
        body.indices[ATTENTION_COLUMN].extent = 1;
    return body;
}

/* ---- Values ---------------------------------------------------------------------------------------------------- */

/* A query: position t of sequence b in query head h. */
typedef struct {
    const Form *form;
    double *const *args;
    int64_t b, t, h;
    int64_t first_seen;
    int64_t n_columns;
} Query;

/* The tensor's vector at position t of the query's sequence, in its head or the one that it shares. */
static double *vector(const Query *at, FormAttentionTensor tensor, int64_t t) {
    const FormAttention *attention = &at->form->attention;
    const FormAccessMap *map = &attention->maps[tensor];
    int64_t head = tensors[tensor].has_kv_heads ? at->h / attention->n_shared : at->h;
    return at->args[map->arg] + map->offset + at->b * map->strides[ATTENTION_SEQUENCE] +
           t * map->strides[ATTENTION_POSITION] + head * map->strides[ATTENTION_HEAD];
}

static double dot(const Query *at, const double *x, const double *y) {
    double sum = 0;
    for (int64_t d = 0; d < at->n_columns; d++)
        sum += x[d] * y[d];
    return sum;
}

static void add(const Query *at, double *to, double factor, const double *x) {
    for (int64_t d = 0; d < at->n_columns; d++)
        to[d] += factor * x[d];
}

static double score(const Query *at, int64_t s) {
    return at->form->attention.scale * dot(at, vector(at, ATTENTION_Q, at->t), vector(at, ATTENTION_K, s));
}

static void attend(const Query *at, double *scores) {
    double largest = -(double)INFINITY, sum = 0;
    for (int64_t s = at->first_seen; s <= at->t; s++) {
        scores[s] = score(at, s);
        largest = fmax(largest, scores[s]);
    }
    for (int64_t s = at->first_seen; s <= at->t; s++)
        sum += exp(scores[s] - largest);
    double logsumexp = largest + log(sum), *out = vector(at, ATTENTION_OUT, at->t);
    *vector(at, ATTENTION_LOGSUMEXP, at->t) = logsumexp;
    for (int64_t d = 0; d < at->n_columns; d++)
        out[d] = 0;
    for (int64_t s = at->first_seen; s <= at->t; s++)
        add(at, out, exp(scores[s] - logsumexp), vector(at, ATTENTION_V, s));
    bool rounds = at->form->args[at->form->attention.maps[ATTENTION_OUT].arg].dtype == DTYPE_BF16;
    for (int64_t d = 0; d < at->n_columns && rounds; d++)
        out[d] = scalar_round_bf16(out[d]);
}

/* The gradient of a score is its weight times what the weight's gradient is above their weighted mean, out.dout. */
static void attend_backward(const Query *at) {
    const double *dout = vector(at, ATTENTION_DOUT, at->t);
    double mean = dot(at, vector(at, ATTENTION_OUT, at->t), dout), scale = at->form->attention.scale;
    for (int64_t s = at->first_seen; s <= at->t; s++) {
        double weight = exp(score(at, s) - *vector(at, ATTENTION_LOGSUMEXP, at->t));
        double dscore = weight * (dot(at, vector(at, ATTENTION_V, s), dout) - mean);
        add(at, vector(at, ATTENTION_DV, s), weight, dout);
        add(at, vector(at, ATTENTION_DQ, at->t), scale * dscore, vector(at, ATTENTION_K, s));
        add(at, vector(at, ATTENTION_DK, s), scale * dscore, vector(at, ATTENTION_Q, at->t));
    }
}

static void clear_results(const Form *form, double *const *args) {
    for (int i = form_attention_first_result(form); i < form_attention_n_tensors(form); i++) {
        uint32_t arg = form->attention.maps[i].arg;
        for (int64_t j = 0; j < form->args[arg].n_elements; j++)
            args[arg][j] = 0;
    }
}

void form_interpret_attention(Arena *arena, const Form *form, double *const *args) {
    const FormIndex *indices = form->body.indices;
    const int64_t n_positions = indices[ATTENTION_POSITION].extent, window = form->attention.window;
    double *scores = arena_array_of(arena, double, n_positions);
    Query at = {.form = form, .args = args, .n_columns = indices[ATTENTION_COLUMN].extent};
    clear_results(form, args);
    for (at.b = 0; at.b < indices[ATTENTION_SEQUENCE].extent; at.b++) {
        for (at.t = 0; at.t < n_positions; at.t++) {
            at.first_seen = at.t < window ? 0 : at.t - window + 1;
            for (at.h = 0; at.h < indices[ATTENTION_HEAD].extent; at.h++) {
                if (form->kind == FORM_KIND_ATTENTION)
                    attend(&at, scores);
                else
                    attend_backward(&at);
            }
        }
    }
}
