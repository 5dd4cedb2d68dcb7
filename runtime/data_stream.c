#include "runtime/data_stream.h"

#include <assert.h>
#include <glob.h>
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "runtime/json.h"

/* ---- Which files ------------------------------------------------------------------------------------------------ */

/* One input of the command line. */
typedef struct {
    char *pattern;     /* owned */
    double weight;     /* NAN: by size */
    size_t first_file; /* among the sources: those that the pattern matched */
    size_t n_files;
} Input;

/* PATH:WEIGHT, unless there is a file of that very name. */
static bool parse_input(const char *text, Input *input, const DataRequest *request, Status *status) {
    const char *colon = strrchr(text, ':');
    input->weight = NAN;
    input->pattern = strdup(text);
    if (!input->pattern)
        return status_fail_errno(status, "%s %s", request->option, text);
    if (!colon || access(text, F_OK) == 0 || strchr(colon, '/'))
        return true;
    char *end;
    input->weight = strtod(colon + 1, &end);
    if (end == colon + 1 || *end || !isfinite(input->weight) || input->weight <= 0.0)
        return status_fail(status, STATUS_USAGE, "%s %s: found weight '%s', expected a number above 0", request->option,
                           text, colon + 1);
    input->pattern[colon - text] = '\0';
    return true;
}

static bool ends_with(const char *text, const char *suffix) {
    size_t n = strlen(text), n_suffix = strlen(suffix);
    return n >= n_suffix && strcmp(text + n - n_suffix, suffix) == 0;
}

static bool add_source(DataStream *stream, const char *path, const DataRequest *request, Status *status) {
    DataSource *sources = realloc(stream->sources, (stream->n_sources + 1) * sizeof *sources);
    if (!sources)
        return status_fail_errno(status, "%s", path);
    stream->sources = sources;
    DataSource *source = &sources[stream->n_sources];
    *source = (DataSource){0};
    if (!token_file_open(&source->file, path, request->headerless, status))
        return false;
    stream->n_sources++;
    uint64_t n_tokens = source->file.n_tokens, length = (uint64_t)request->sequence;
    if (n_tokens <= length)
        return status_fail(status, STATUS_INPUT,
                           "%s: has %" PRIu64 " tokens, but one sequence takes %" PRIu64 ": %" PRIu64
                           " and the one that follows",
                           source->file.path, n_tokens, length + 1, length);
    source->n_windows = (n_tokens - 1) / length;
    stream->n_windows += source->n_windows;
    stream->n_tokens += n_tokens;
    return true;
}

/* Opens what the pattern matches, in the order of names; a file of that very name is no pattern. Of a Megatron pair, a
   pattern takes the .bin file. */
static bool add_matches(DataStream *stream, Input *input, const DataRequest *request, Status *status) {
    input->first_file = stream->n_sources;
    if (!strpbrk(input->pattern, "*?[") || access(input->pattern, F_OK) == 0) {
        add_source(stream, input->pattern, request, status);
    } else {
        glob_t matches;
        int result = glob(input->pattern, 0, NULL, &matches);
        if (result == GLOB_NOSPACE)
            status_fail(status, STATUS_SYSTEM, "no memory to list %s", input->pattern);
        for (size_t i = 0; result == 0 && i < matches.gl_pathc && !status->failed; i++) {
            if (!ends_with(matches.gl_pathv[i], ".idx"))
                add_source(stream, matches.gl_pathv[i], request, status);
        }
        globfree(&matches);
    }
    input->n_files = stream->n_sources - input->first_file;
    if (input->n_files == 0)
        status_fail(status, STATUS_INPUT, "%s %s: no token file matches", request->option, input->pattern);
    return !status->failed;
}

/* Shares: by weight among inputs, by size among the files of one input. */
static bool set_shares(DataStream *stream, const Input *inputs, const DataRequest *request, Status *status) {
    double total = 0.0;
    for (size_t i = 0; i < request->n_inputs; i++) {
        if (isnan(inputs[i].weight) != isnan(inputs[0].weight))
            return status_fail(status, STATUS_USAGE,
                               "%s: some have a weight and some have none; expected PATH:WEIGHT for all or for none",
                               request->option);
        total += inputs[i].weight;
    }
    for (size_t i = 0; i < request->n_inputs; i++) {
        uint64_t n_windows = 0;
        DataSource *files = stream->sources + inputs[i].first_file;
        for (size_t f = 0; f < inputs[i].n_files; f++)
            n_windows += files[f].n_windows;
        double share = isnan(total) ? (double)n_windows / (double)stream->n_windows : inputs[i].weight / total;
        for (size_t f = 0; f < inputs[i].n_files; f++)
            files[f].share = share * (double)files[f].n_windows / (double)n_windows;
    }
    return true;
}

static bool open_inputs(DataStream *stream, Input *inputs, const DataRequest *request, Status *status) {
    for (size_t i = 0; i < request->n_inputs; i++) {
        if (!parse_input(request->inputs[i], &inputs[i], request, status) ||
            !add_matches(stream, &inputs[i], request, status))
            return false;
    }
    if (!set_shares(stream, inputs, request, status))
        return false;
    stream->window = malloc(((size_t)request->sequence + 1) * sizeof *stream->window);
    return stream->window || status_fail_errno(status, "%s", request->option);
}

bool data_stream_open(DataStream *stream, const DataRequest *request, Status *status) {
    *stream = (DataStream){.sequence = request->sequence, .vocab = request->vocab, .seed = request->seed};
    Input *inputs = calloc(request->n_inputs + 1, sizeof *inputs);
    if (!inputs)
        return status_fail_errno(status, "%s", request->option);
    open_inputs(stream, inputs, request, status);
    for (size_t i = 0; i < request->n_inputs; i++)
        free(inputs[i].pattern);
    free(inputs);
    for (size_t i = 0; i < stream->n_sources && !status->failed; i++)
        stream->sources[i].shuffle = shuffle_make(stream->sources[i].n_windows, stream->seed, i, 0);
    if (status->failed)
        data_stream_close(stream);
    return !status->failed;
}

void data_stream_close(DataStream *stream) {
    for (size_t i = 0; i < stream->n_sources; i++)
        token_file_close(&stream->sources[i].file);
    free(stream->sources);
    free(stream->window);
    *stream = (DataStream){0};
}

/* ---- Sequences -------------------------------------------------------------------------------------------------- */

static bool read_window(const DataStream *stream, const DataSource *source, uint64_t window, int32_t *tokens,
                        int32_t *targets, Status *status) {
    size_t length = (size_t)stream->sequence;
    if (!token_file_read(&source->file, window * length, length + 1, stream->vocab, stream->window, status))
        return false;
    memcpy(tokens, stream->window, length * sizeof *tokens);
    memcpy(targets, stream->window + 1, length * sizeof *targets);
    return true;
}

/* The file that is furthest behind its share; of equals the first. What was drawn under other shares does not count:
   a file whose share has grown would catch up with a long run of its own. */
static size_t choose_source(const DataStream *stream) {
    size_t chosen = 0;
    double most = -INFINITY, n_next = (double)(stream->n_drawn - stream->n_before + 1);
    for (size_t i = 0; i < stream->n_sources; i++) {
        const DataSource *source = &stream->sources[i];
        double behind = source->share * n_next - (double)(source->n_drawn - source->n_before);
        if (behind > most) {
            most = behind;
            chosen = i;
        }
    }
    return chosen;
}

bool data_stream_next(DataStream *stream, int32_t *tokens, int32_t *targets, Status *status) {
    size_t chosen = choose_source(stream);
    DataSource *source = &stream->sources[chosen];
    uint64_t epoch = source->n_drawn / source->n_windows;
    if (epoch != source->epoch) {
        source->epoch = epoch;
        source->shuffle = shuffle_make(source->n_windows, stream->seed, chosen, epoch);
    }
    uint64_t window = shuffle_at(&source->shuffle, source->n_drawn % source->n_windows);
    source->n_drawn++;
    stream->n_drawn++;
    return read_window(stream, source, window, tokens, targets, status);
}

bool data_stream_window(const DataStream *stream, uint64_t index, int32_t *tokens, int32_t *targets, Status *status) {
    assert(index < stream->n_windows);
    const DataSource *source = stream->sources;
    for (; index >= source->n_windows; source++)
        index -= source->n_windows;
    return read_window(stream, source, index, tokens, targets, status);
}

bool data_stream_head(const DataStream *stream, int64_t n, int32_t *tokens, Status *status) {
    const TokenFile *file = &stream->sources[0].file;
    uint64_t n_read = file->n_tokens < (uint64_t)n ? file->n_tokens : (uint64_t)n;
    memset(tokens, 0, (size_t)n * sizeof *tokens);
    return token_file_read(file, 0, n_read, stream->vocab, tokens, status);
}

/* ---- Position --------------------------------------------------------------------------------------------------- */

void data_stream_mark(DataStream *stream) {
    stream->n_marked = stream->n_drawn;
    for (size_t i = 0; i < stream->n_sources; i++)
        stream->sources[i].n_marked = stream->sources[i].n_drawn;
}

char *data_stream_position(const DataStream *stream) {
    json_t *files = json_array();
    for (size_t i = 0; i < stream->n_sources; i++) {
        const DataSource *source = &stream->sources[i];
        json_t *path = json_string(source->file.path);
        json_array_append_new(files,
                              json_pack("{s:o, s:I, s:I, s:f, s:I}", "path", path ? path : json_string("?"), "tokens",
                                        (json_int_t)source->file.n_tokens, "sequences", (json_int_t)source->n_marked,
                                        "share", source->share, "before", (json_int_t)source->n_before));
    }
    json_t *position = json_pack("{s:I, s:o}", "sequences", (json_int_t)stream->n_marked, "files", files);
    char *text = position ? json_print_line(position) : NULL;
    json_decref(position);
    return text;
}

static bool fail_position(const char *what, Status *status) {
    return status_fail(status, STATUS_INPUT, "the checkpoint's position in the data is damaged: %s", what);
}

/* An integer of at least 0 at `key`; else -1. */
static int64_t count_at(const json_t *object, const char *key) {
    const json_t *value = json_object_get(object, key);
    return json_is_integer(value) ? json_integer_value(value) : -1;
}

static bool restore_source(DataSource *source, const json_t *saved, Status *status) {
    int64_t n_tokens = count_at(saved, "tokens"), n_drawn = count_at(saved, "sequences");
    int64_t n_before = count_at(saved, "before");
    const char *path = json_string_value(json_object_get(saved, "path"));
    if (n_tokens < 0 || n_before < 0 || n_drawn < n_before || !path || !json_is_number(json_object_get(saved, "share")))
        return fail_position("expected \"path\", \"tokens\", \"sequences\", \"share\" and \"before\" for each file",
                             status);
    if ((uint64_t)n_tokens != source->file.n_tokens)
        return status_fail(status, STATUS_INPUT,
                           "%s: has %" PRIu64 " tokens; the run being resumed read %s, which had %" PRId64
                           ". Give the same data in the same order, or start anew with --weights CHECKPOINT",
                           source->file.path, source->file.n_tokens, path, n_tokens);
    source->n_drawn = (uint64_t)n_drawn;
    source->n_before = (uint64_t)n_before;
    source->epoch = UINT64_MAX; /* of no shuffle: the next sequence makes its own */
    return true;
}

/* Whether the shares are those of the checkpoint: up to rounding, since weights 1 and 3 may be given as 0.1 and 0.3. */
static bool are_shares_kept(const DataStream *stream, const json_t *files) {
    for (size_t i = 0; i < stream->n_sources; i++) {
        double saved = json_number_value(json_object_get(json_array_get(files, i), "share"));
        if (fabs(stream->sources[i].share - saved) > 1e-9)
            return false;
    }
    return true;
}

/* The shares hold from here on. */
static void begin_shares(DataStream *stream) {
    stream->n_before = stream->n_drawn;
    for (size_t i = 0; i < stream->n_sources; i++)
        stream->sources[i].n_before = stream->sources[i].n_drawn;
}

static bool restore_sources(DataStream *stream, const json_t *position, Status *status) {
    const json_t *files = json_object_get(position, "files");
    int64_t n_drawn = count_at(position, "sequences");
    if (n_drawn < 0 || !json_is_array(files))
        return fail_position("expected \"sequences\" and \"files\"", status);
    if (json_array_size(files) != stream->n_sources)
        return status_fail(status, STATUS_INPUT,
                           "--data names %zu files; the run being resumed read %zu. Give the same data in the same "
                           "order, or start anew with --weights CHECKPOINT",
                           stream->n_sources, json_array_size(files));
    uint64_t sum = 0;
    for (size_t i = 0; i < stream->n_sources; i++) {
        if (!restore_source(&stream->sources[i], json_array_get(files, i), status))
            return false;
        sum += stream->sources[i].n_drawn;
        stream->n_before += stream->sources[i].n_before;
    }
    if (sum != (uint64_t)n_drawn)
        return fail_position("its files don't add up to its sequences", status);
    stream->n_drawn = sum;
    if (!are_shares_kept(stream, files))
        begin_shares(stream);
    return true;
}

bool data_stream_restore(DataStream *stream, const char *text, Status *status) {
    json_t *position = json_parse(text, strlen(text), "the checkpoint's position in the data", status);
    if (position)
        restore_sources(stream, position, status);
    json_decref(position);
    data_stream_mark(stream);
    return !status->failed;
}
