/* Sequences for training and validation, out of one or several token files.

   A file of n tokens holds (n - 1) / T windows of T + 1 tokens that overlap by one: T inputs, and for each the token
   that follows. Documents are packed as they come. Training takes the windows of each file in an order of its own,
   shuffled anew in each epoch of that file, and takes the files in turn by their shares. Everything is a function of
   the seed, the shares and how many sequences were drawn, so that a run is resumed at once, wherever it stopped. */
#ifndef MOEC_RUNTIME_DATA_STREAM_H
#define MOEC_RUNTIME_DATA_STREAM_H

#include <stddef.h>

#include "runtime/data_file.h"
#include "runtime/data_shuffle.h"

typedef struct {
    TokenFile file;
    uint64_t n_windows;
    double share;      /* of the sequences; all shares together are 1 */
    uint64_t n_drawn;  /* sequences taken from this file */
    uint64_t n_before; /* of them, those taken before the shares became these */
    uint64_t n_marked;
    uint64_t epoch; /* of `shuffle` */
    Shuffle shuffle;
} DataSource;

typedef struct {
    DataSource *sources;
    size_t n_sources;
    uint64_t n_windows, n_tokens; /* of all files */
    uint64_t n_drawn, n_before, n_marked;
    int64_t sequence, vocab;
    uint64_t seed;
    int32_t *window; /* [T + 1], scratch */
} DataStream;

typedef struct {
    const char *option;        /* "--data", for errors */
    const char *const *inputs; /* PATH or PATTERN, with :WEIGHT where the stream is for training */
    size_t n_inputs;
    TokenDtype headerless;
    int64_t sequence, vocab;
    uint64_t seed;
} DataRequest;

/* On failure nothing is left open. The strings of the request are not kept. */
bool data_stream_open(DataStream *stream, const DataRequest *request, Status *status);
void data_stream_close(DataStream *stream);

/* The next sequence of training: tokens and targets, [T] each. Every id is checked to be below vocab. */
bool data_stream_next(DataStream *stream, int32_t *tokens, int32_t *targets, Status *status);

/* Window `index` < n_windows, counted through the files in order: validation reads from the start. */
bool data_stream_window(const DataStream *stream, uint64_t index, int32_t *tokens, int32_t *targets, Status *status);

/* The first n tokens of the first file, padded with token 0 where it has fewer. */
bool data_stream_head(const DataStream *stream, int64_t n, int32_t *tokens, Status *status);

/* Remembers the position: that of the last finished step, while a step may be under way. */
void data_stream_mark(DataStream *stream);

/* The marked position as JSON, and back to it: the files must be as many and as long as they were. Shares may be
   others: they hold from there on. NULL when out of memory; the caller frees the text. */
char *data_stream_position(const DataStream *stream);
bool data_stream_restore(DataStream *stream, const char *position, Status *status);

#endif
