#include "runtime/weights_draw.h"

#include <assert.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "runtime/random.h"

/* Normal values are made in blocks of this many on the stack; a multiple of the generator's four. */
enum { DRAW_BLOCK = 4096 };

static uint64_t product(const int64_t *dims, int rank) {
    uint64_t n = 1;
    for (int i = 0; i < rank; i++)
        n *= (uint64_t)dims[i];
    return n;
}

static uint64_t least(uint64_t a, uint64_t b) {
    return a < b ? a : b;
}

uint64_t weight_elements(const MoecWeight *weight) {
    return product(weight->dims, weight->rank);
}

uint64_t weight_slice_elements(const MoecWeight *weight) {
    return weight->experts > 0 ? product(weight->dims + 1, weight->rank - 1) : weight_elements(weight);
}

/* ---- Statistics ------------------------------------------------------------------------------------------------ */

Moments moments_of(const float *values, uint64_t n) {
    double sum = 0, squares = 0;
    for (uint64_t i = 0; i < n; i++)
        sum += (double)values[i];
    double mean = n > 0 ? sum / (double)n : 0;
    for (uint64_t i = 0; i < n; i++)
        squares += ((double)values[i] - mean) * ((double)values[i] - mean);
    return (Moments){(double)n, mean, squares};
}

Moments moments_join(Moments a, Moments b) {
    double n = a.n + b.n;
    if (n == 0)
        return a;
    double difference = b.mean - a.mean;
    return (Moments){n, a.mean + difference * (b.n / n),
                     a.squares + b.squares + difference * difference * (a.n * b.n / n)};
}

/* ---- Initial values -------------------------------------------------------------------------------------------- */

static void draw_normal(const RandomStream *stream, uint64_t first, uint64_t n, double std, float *values) {
    random_normal(stream, first, n, values);
    for (uint64_t i = 0; i < n; i++)
        values[i] = (float)(std * (double)values[i]);
}

/* Row e of a tiled weight is row e - e mod tile of the draw. */
static void draw_tiled(const MoecWeight *weight, const RandomStream *stream, float *values) {
    uint64_t n_rows = (uint64_t)weight->dims[0], tile = (uint64_t)weight->tile;
    uint64_t row_elements = product(weight->dims + 1, weight->rank - 1);
#pragma omp parallel for
    for (uint64_t row = 0; row < n_rows; row++)
        draw_normal(stream, (row - row % tile) * row_elements, row_elements, weight->std, values + row * row_elements);
}

static void draw_whole(const MoecWeight *weight, const RandomStream *stream, float *values) {
    uint64_t n = weight_elements(weight);
#pragma omp parallel for
    for (uint64_t first = 0; first < n; first += DRAW_BLOCK)
        draw_normal(stream, first, least(DRAW_BLOCK, n - first), weight->std, values + first);
}

void weight_draw_initial(const MoecWeight *weight, uint64_t seed, float *values) {
    const char *init = weight->init ? weight->init : "normal";
    uint64_t n = weight_elements(weight);
    if (strcmp(init, "zeros") == 0) {
        memset(values, 0, n * sizeof *values);
    } else if (strcmp(init, "ones") == 0) {
        for (uint64_t i = 0; i < n; i++)
            values[i] = 1.0f;
    } else {
        assert(strcmp(init, "normal") == 0);
        RandomStream stream = random_stream_for(seed, "init", weight->name);
        if (weight->tile > 1)
            draw_tiled(weight, &stream, values);
        else
            draw_whole(weight, &stream, values);
    }
}

/* ---- Replicas -------------------------------------------------------------------------------------------------- */

void weight_add_noise(const MoecWeight *weight, uint64_t seed, uint64_t first, uint64_t n, float *values) {
    RandomStream stream = random_stream_for(seed, "noise", weight->name);
    float noise[DRAW_BLOCK];
    for (uint64_t done = 0; done < n; done += DRAW_BLOCK) {
        uint64_t count = least(DRAW_BLOCK, n - done);
        random_normal(&stream, first + done, count, noise);
        for (uint64_t i = 0; i < count; i++)
            values[done + i] += (float)(weight->noise * (double)noise[i]);
    }
}

/* Marks round(drop * n) of n columns: the front of a shuffled list (Fisher and Yates). Weights with one key have the
   same columns. The numbers of an expert begin at expert * 2^32. False when out of memory. */
static bool choose_columns(const MoecWeight *weight, uint64_t seed, int64_t expert, uint64_t n, bool *is_dropped) {
    uint64_t *order = malloc((n + 1) * sizeof *order);
    if (!order)
        return false;
    RandomStream stream = random_stream_for(seed, "drop", weight->drop_key ? weight->drop_key : weight->name);
    uint64_t n_dropped = least(n, (uint64_t)llround(weight->drop * (double)n));
    for (uint64_t i = 0; i < n; i++)
        order[i] = i;
    for (uint64_t i = 0; i < n_dropped; i++) {
        uint64_t chosen = i + random_below(&stream, ((uint64_t)expert << 32) + i, n - i);
        is_dropped[order[chosen]] = true;
        order[chosen] = order[i];
    }
    free(order);
    return true;
}

/* The slice is [outer, columns, inner]. Values are drawn for whole blocks of it, dropped or not, so that the place of a
   value alone decides what it becomes. */
typedef struct {
    uint64_t n_columns, inner, n;
    uint64_t first; /* of the slice in the weight */
    double mean, deviation;
} Redraw;

static void redraw_block(const Redraw *redraw, const RandomStream *stream, const bool *is_dropped, uint64_t first,
                         float *slice) {
    float normals[DRAW_BLOCK];
    uint64_t count = least(DRAW_BLOCK, redraw->n - first);
    random_normal(stream, redraw->first + first, count, normals);
    for (uint64_t i = 0; i < count; i++) {
        if (is_dropped[(first + i) / redraw->inner % redraw->n_columns])
            slice[first + i] = (float)(redraw->mean + redraw->deviation * (double)normals[i]);
    }
}

bool weight_redraw_dropped(const MoecWeight *weight, uint64_t seed, int64_t expert, const Moments *dense, float *slice,
                           Status *status) {
    const int64_t *dims = weight->experts > 0 ? weight->dims + 1 : weight->dims;
    int rank = weight->experts > 0 ? weight->rank - 1 : weight->rank;
    int dim = (int)weight->drop_dim;
    assert(dim < rank);
    double scale = weight->scale != 0 ? weight->scale : 1, n_values = dense->n > 0 ? dense->n : 1;
    Redraw redraw = {
        .n_columns = (uint64_t)dims[dim],
        .inner = product(dims + dim + 1, rank - dim - 1),
        .n = product(dims, rank),
        .first = (uint64_t)expert * product(dims, rank),
        .mean = scale * dense->mean,
        .deviation = scale * sqrt(dense->squares / n_values),
    };
    bool *is_dropped = calloc(redraw.n_columns + 1, sizeof *is_dropped);
    if (is_dropped && choose_columns(weight, seed, expert, redraw.n_columns, is_dropped)) {
        RandomStream stream = random_stream_for(seed, "redraw", weight->name);
#pragma omp parallel for
        for (uint64_t first = 0; first < redraw.n; first += DRAW_BLOCK)
            redraw_block(&redraw, &stream, is_dropped, first, slice);
    } else {
        status_fail_errno(status, "columns to drop of %s", weight->name);
    }
    free(is_dropped);
    return !status->failed;
}
