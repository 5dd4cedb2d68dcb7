/* Carries out a list of copies. A tensor is read in pieces of fixed size, by all threads; what a piece becomes does not
   depend on who reads it, and statistics are joined in the order of the pieces: any number of threads gives the same
   bits. */
#include "runtime/weights_read.h"

#include <malloc.h>
#include <stdlib.h>
#include <string.h>

#include "runtime/weights_draw.h"

enum { PIECE_ELEMENTS = 1 << 18 };

/* All copies of one tensor. */
typedef struct {
    const WeightCopy *copies;
    size_t n;
} TensorCopies;

typedef struct {
    uint64_t seed;
    Progress *progress;
    uint64_t done, total; /* bytes */
    Status *status;
} ReadJob;

static uint64_t least(uint64_t a, uint64_t b) {
    return a < b ? a : b;
}

/* Bit for bit and in one run: the file's bytes can be read into their place. */
static bool is_plain(const TensorCopies *tensor) {
    return tensor->n == 1 && tensor->copies->n_blocks == 1 && !tensor->copies->is_replica;
}

static bool needs_statistics(const TensorCopies *tensor) {
    for (size_t i = 0; i < tensor->n; i++) {
        if (tensor->copies[i].is_replica && tensor->copies[i].weight->drop > 0)
            return true;
    }
    return false;
}

/* `n` values of the tensor to elements first .. of the copy. A scale of 0 in the plan is one that was not given. */
static void put_values(const WeightCopy *copy, uint64_t seed, const float *values, uint64_t first, uint64_t n) {
    const MoecWeight *weight = copy->weight;
    float *to = copy->to + first;
    if (!copy->is_replica || weight->scale == 0 || weight->scale == 1) {
        memcpy(to, values, n * sizeof *to);
    } else {
        float scale = (float)weight->scale;
        for (uint64_t i = 0; i < n; i++)
            to[i] = scale * values[i];
    }
    if (copy->is_replica && weight->noise > 0)
        weight_add_noise(weight, seed, (uint64_t)copy->expert * weight_slice_elements(weight) + first, n, to);
}

/* Elements first .. first+n-1 of the tensor, run by run, to where the copy wants them. */
static void put_piece(const WeightCopy *copy, uint64_t seed, const float *values, uint64_t first, uint64_t n) {
    for (uint64_t done = 0, count; done < n; done += count) {
        uint64_t run = (first + done) / copy->run, at = (first + done) % copy->run;
        count = least(copy->run - at, n - done);
        if (run % copy->n_blocks == copy->block)
            put_values(copy, seed, values + done, run / copy->n_blocks * copy->run + at, count);
    }
}

static bool read_piece(const TensorCopies *tensor, uint64_t seed, uint64_t first, size_t n, float *buffer,
                       Moments *moments, Status *status) {
    const TensorRef *from = &tensor->copies->from;
    bool is_direct = is_plain(tensor);
    float *values = is_direct ? tensor->copies->to + first : buffer;
    if (!safetensors_read(from->file, from->entry, first, n, values, status))
        return false;
    if (moments)
        *moments = moments_of(values, n);
    for (size_t i = 0; i < tensor->n && !is_direct; i++)
        put_piece(&tensor->copies[i], seed, values, first, n);
    return true;
}

/* Called by all threads; the one that started them says how far the work is. */
static void count_piece(ReadJob *job, uint64_t n_bytes, bool is_caller) {
    uint64_t done;
#pragma omp atomic capture
    done = job->done += n_bytes;
    if (is_caller && job->progress)
        job->progress->report(job->progress, done, job->total);
}

/* `moments` holds one for each piece, or is NULL. */
static bool read_pieces(const TensorCopies *tensor, ReadJob *job, Moments *moments) {
    const SafetensorsEntry *entry = tensor->copies->from.entry;
    uint64_t n_pieces = (entry->n_elements + PIECE_ELEMENTS - 1) / PIECE_ELEMENTS;
    uint64_t buffer_elements = is_plain(tensor) ? 1 : least(entry->n_elements, PIECE_ELEMENTS);
#pragma omp parallel if (n_pieces > 1)
    {
        Status status = STATUS_INIT;
        float *buffer = malloc(buffer_elements * sizeof *buffer);
        if (!buffer)
            status_fail_errno(&status, "buffer to read tensors");
        bool is_caller = false;
#pragma omp master
        is_caller = true;
#pragma omp for
        for (uint64_t piece = 0; piece < n_pieces; piece++) {
            uint64_t first = piece * PIECE_ELEMENTS;
            size_t n = (size_t)least(PIECE_ELEMENTS, entry->n_elements - first);
            if (!status.failed &&
                read_piece(tensor, job->seed, first, n, buffer, moments ? &moments[piece] : NULL, &status))
                count_piece(job, n * dtype_bits(entry->dtype) / 8, is_caller);
        }
#pragma omp critical(read_status)
        if (status.failed && !job->status->failed)
            *job->status = status;
        free(buffer);
    }
    return !job->status->failed;
}

static bool redraw_dropped(const TensorCopies *tensor, uint64_t seed, const Moments *moments, size_t n_pieces,
                           Status *status) {
    Moments dense = {0};
    for (size_t i = 0; i < n_pieces; i++)
        dense = moments_join(dense, moments[i]);
    for (size_t i = 0; i < tensor->n && !status->failed; i++) {
        const WeightCopy *copy = &tensor->copies[i];
        if (copy->is_replica && copy->weight->drop > 0)
            weight_redraw_dropped(copy->weight, seed, copy->expert, &dense, copy->to, status);
    }
    return !status->failed;
}

static bool read_tensor(const TensorCopies *tensor, ReadJob *job) {
    if (!needs_statistics(tensor))
        return read_pieces(tensor, job, NULL);
    size_t n_pieces = (size_t)((tensor->copies->from.entry->n_elements + PIECE_ELEMENTS - 1) / PIECE_ELEMENTS);
    Moments *moments = calloc(n_pieces + 1, sizeof *moments);
    if (!moments)
        return status_fail_errno(job->status, "statistics of %s", tensor->copies->name);
    bool is_read =
        read_pieces(tensor, job, moments) && redraw_dropped(tensor, job->seed, moments, n_pieces, job->status);
    free(moments);
    return is_read;
}

/* Of a tensor in blocks, a copy has one of each. */
static bool hand_on(const TensorCopies *tensor, Passage *passage, Status *status) {
    for (size_t i = 0; i < tensor->n && passage && !status->failed; i++) {
        const WeightCopy *copy = &tensor->copies[i];
        uint64_t n = copy->from.entry->n_elements / copy->n_blocks;
        passage_put(passage, copy->to, n * sizeof *copy->to, copy->name, status);
    }
    return !status->failed;
}

/* In the order of files and of data in them, so that reading goes forwards; then in the order of the weights. */
static int compare_copies(const void *left, const void *right) {
    const WeightCopy *a = left, *b = right;
    int by_path = strcmp(a->from.file->path, b->from.file->path);
    if (by_path != 0)
        return by_path;
    if (a->from.entry != b->from.entry)
        return a->from.entry < b->from.entry ? -1 : 1;
    if (a->weight != b->weight)
        return a->weight < b->weight ? -1 : 1;
    return a->to < b->to ? -1 : a->to > b->to;
}

/* The copies from item `first` on that read the same tensor. */
static TensorCopies tensor_copies(const WeightCopy *sorted, size_t n, size_t first) {
    size_t end = first + 1;
    while (end < n && sorted[end].from.entry == sorted[first].from.entry)
        end++;
    return (TensorCopies){sorted + first, end - first};
}

bool copies_read(const CopyList *list, uint64_t seed, Passage *passage, Progress *progress, uint64_t *n_bytes,
                 Status *status) {
    ReadJob job = {.seed = seed, .progress = progress, .status = status};
    *n_bytes = 0;
    WeightCopy *sorted = calloc(list->n + 1, sizeof *sorted);
    if (!sorted)
        return status_fail_errno(status, "list of the tensors to read");
    if (list->n > 0)
        memcpy(sorted, list->items, list->n * sizeof *sorted);
    qsort(sorted, list->n, sizeof *sorted, compare_copies);
    TensorCopies tensor;
    for (size_t i = 0; i < list->n; i += tensor.n) {
        tensor = tensor_copies(sorted, list->n, i);
        job.total += tensor.copies->from.entry->n_bytes;
    }
    for (size_t i = 0; i < list->n && !status->failed; i += tensor.n) {
        tensor = tensor_copies(sorted, list->n, i);
        if (read_tensor(&tensor, &job))
            hand_on(&tensor, passage, status);
    }
    if (progress && !status->failed)
        progress->report(progress, job.done, job.total);
    *n_bytes = job.total;
    free(sorted);
    malloc_trim(0); /* the threads' buffers, of which each would keep one for the rest of the run */
    return !status->failed;
}
