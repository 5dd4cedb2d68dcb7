/* Attention and its gradient as forms: their tensors, and what they mean. */
#include <math.h>

#include "codegen/form_internal.h"

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

bool form_attention_is_result(const Form *form, int tensor) {
    return tensor >= form_attention_first_result(form);
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

/* The element at the tensor's map is loaded and yielded, or the result's element stored there. */
static FormBody *body_of_map(Arena *arena, const Form *form, int tensor) {
    FormBody *body = arena_new_of(arena, FormBody);
    *body = form_attention_indices(form, tensor);
    FormInstr element = {.op = FORM_LOAD, .a = FORM_NONE, .map = form->attention.maps[tensor]};
    FormInstr result = {.op = FORM_RESULT, .map = {.arg = FORM_NONE, .gather = FORM_NONE}};
    result.map.strides[ATTENTION_COLUMN] = 1;
    if (form_attention_is_result(form, tensor))
        element = (FormInstr){.op = FORM_STORE, .a = form_add(arena, body, result), .map = element.map};
    uint32_t added = form_add(arena, body, element);
    body->yield = form_attention_is_result(form, tensor) ? FORM_NONE : added;
    return body;
}

void form_attention_widen(Arena *arena, Form *form) {
    for (int i = 0; i < form_attention_n_tensors(form); i++) {
        FormAttention *attention = &form->attention;
        if (!attention->bodies[i] && form->args[attention->maps[i].arg].dtype != DTYPE_F32)
            attention->bodies[i] = body_of_map(arena, form, i);
    }
    form_merge_indices(form);
}

/* ---- Values ---------------------------------------------------------------------------------------------------- */

/* A query: position t of sequence b in query head h. */
typedef struct {
    const Form *form;
    double *const *tensors;
    int64_t b, t, h;
    int64_t first_seen;
    int64_t n_columns;
} Query;

/* The tensor's vector at position t of the query's sequence, in its head or the one that it shares. */
static double *vector(const Query *at, int tensor, int64_t t) {
    const FormBody body = form_attention_indices(at->form, tensor);
    int64_t head = tensors[tensor].has_kv_heads ? at->h / at->form->attention.n_shared : at->h;
    int64_t row = (at->b * body.indices[ATTENTION_POSITION].extent + t) * body.indices[ATTENTION_HEAD].extent + head;
    return at->tensors[tensor] + row * body.indices[ATTENTION_COLUMN].extent;
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
    for (int64_t s = at->first_seen; s <= at->t; s++)
        add(at, out, exp(scores[s] - logsumexp), vector(at, ATTENTION_V, s));
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

void form_interpret_attention(Arena *arena, const Form *form, double *const *of_tensors) {
    const FormIndex *indices = form->body.indices;
    const int64_t n_positions = indices[ATTENTION_POSITION].extent, window = form->attention.window;
    double *scores = arena_array_of(arena, double, n_positions);
    Query at = {.form = form, .tensors = of_tensors, .n_columns = indices[ATTENTION_COLUMN].extent};
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
