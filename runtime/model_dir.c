#include "runtime/model_dir.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const char single_name[] = "model.safetensors";
static const char index_name[] = "model.safetensors.index.json";

/* Files that say how text becomes tokens, how the model is used, and under which licence. */
static const char *const side_names[] = {
    "tokenizer.json", "tokenizer.model", "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json",
    "vocab.json",     "merges.txt",      "chat_template.jinja",   "generation_config.json",  "LICENSE",
    "LICENSE.txt",    "NOTICE",
};
enum { N_SIDE_NAMES = sizeof side_names / sizeof *side_names };

/* DIR/NAME, allocated; NULL after a failure. */
static char *join(const char *directory, const char *name, Status *status) {
    char *path = NULL;
    if (asprintf(&path, "%s/%s", directory, name) >= 0)
        return path;
    status_fail_errno(status, "%s/%s", directory, name);
    return NULL;
}

static bool has_file(const char *directory, const char *name) {
    Status status = STATUS_INIT;
    char *path = join(directory, name, &status);
    bool is_there = path && access(path, F_OK) == 0;
    free(path);
    return is_there;
}

/* ---- config.json and side files -------------------------------------------------------------------------------- */

void model_extras_free(ModelExtras *extras) {
    for (size_t i = 0; i < extras->n_files; i++) {
        free(extras->files[i].name);
        free(extras->files[i].bytes);
    }
    free(extras->files);
    json_decref(extras->config);
    *extras = (ModelExtras){0};
}

/* A JSON object in DIR/NAME; NULL after a failure. */
static json_t *read_object(const char *directory, const char *name, Status *status) {
    char *path = join(directory, name, status);
    size_t length;
    char *text = path ? json_read_text(path, &length, status) : NULL;
    json_t *object = text ? json_parse(text, length, path, status) : NULL;
    if (object && !json_is_object(object)) {
        status_fail(status, STATUS_INPUT, "%s: expected an object { }", path);
        json_decref(object);
        object = NULL;
    }
    free(text);
    free(path);
    return object;
}

static bool read_side_file(const char *directory, const char *name, SideFile *file, Status *status) {
    char *path = join(directory, name, status);
    *file = (SideFile){.name = strdup(name)};
    if (path && file->name)
        file->bytes = json_read_text(path, &file->n_bytes, status);
    else
        status_fail_errno(status, "%s/%s", directory, name);
    free(path);
    return !status->failed;
}

static bool read_extras(const char *directory, ModelExtras *extras, Status *status) {
    if (has_file(directory, "config.json") && !(extras->config = read_object(directory, "config.json", status)))
        return false;
    extras->files = calloc(N_SIDE_NAMES, sizeof *extras->files);
    if (!extras->files)
        return status_fail_errno(status, "%s", directory);
    for (int i = 0; i < N_SIDE_NAMES; i++) {
        if (has_file(directory, side_names[i]) &&
            !read_side_file(directory, side_names[i], &extras->files[extras->n_files++], status))
            return false;
    }
    return true;
}

/* ---- Weights --------------------------------------------------------------------------------------------------- */

static bool open_file(ModelDir *dir, const char *name, Status *status) {
    char *path = join(dir->path, name, status);
    if (path && safetensors_open(&dir->files[dir->n_files], path, status))
        dir->n_files++;
    free(path);
    return !status->failed;
}

static bool open_single(ModelDir *dir, Status *status) {
    dir->files = calloc(1, sizeof *dir->files);
    return dir->files ? open_file(dir, single_name, status) : status_fail_errno(status, "%s", dir->path);
}

/* Names in the index must stay in the directory. */
static bool check_shard_name(const ModelDir *dir, const json_t *name, Status *status) {
    const char *text = json_string_value(name);
    if (!text)
        return status_fail(status, STATUS_INPUT, "%s/%s: \"weight_map\" has a value that is no file name", dir->path,
                           index_name);
    if (!*text || strpbrk(text, "/\\") || strncmp(text, "..", 2) == 0)
        return status_fail(status, STATUS_INPUT,
                           "%s/%s: shard \"%.200s\": expected the name of a file beside the index", dir->path,
                           index_name, text);
    return true;
}

static int compare_names(const void *left, const void *right) {
    return strcmp(*(const char *const *)left, *(const char *const *)right);
}

/* Opens each shard of the map once, in the order of their names. */
static bool open_shards(ModelDir *dir, const json_t *map, Status *status) {
    size_t n_names = 0;
    const char **names = calloc(json_object_size(map) + 1, sizeof *names);
    dir->files = calloc(json_object_size(map) + 1, sizeof *dir->files);
    if (!names || !dir->files) {
        free(names);
        return status_fail_errno(status, "%s", dir->path);
    }
    const char *tensor;
    json_t *shard;
    json_object_foreach((json_t *)map, tensor, shard) {
        if (status->failed || !check_shard_name(dir, shard, status))
            break;
        names[n_names++] = json_string_value(shard);
    }
    if (!status->failed)
        qsort(names, n_names, sizeof *names, compare_names);
    for (size_t i = 0; i < n_names && !status->failed; i++) {
        if (i == 0 || strcmp(names[i], names[i - 1]) != 0)
            open_file(dir, names[i], status);
    }
    free(names);
    return !status->failed;
}

static int compare_tensors(const void *left, const void *right) {
    return strcmp(((const TensorRef *)left)->entry->name, ((const TensorRef *)right)->entry->name);
}

/* The tensors of all files in one sorted table. */
static bool list_tensors(ModelDir *dir, Status *status) {
    size_t n = 0;
    for (size_t f = 0; f < dir->n_files; f++)
        n += dir->files[f].n_entries;
    dir->tensors = calloc(n + 1, sizeof *dir->tensors);
    if (!dir->tensors)
        return status_fail_errno(status, "%s", dir->path);
    for (size_t f = 0; f < dir->n_files; f++) {
        for (size_t e = 0; e < dir->files[f].n_entries; e++)
            dir->tensors[dir->n_tensors++] = (TensorRef){&dir->files[f], &dir->files[f].entries[e]};
    }
    qsort(dir->tensors, dir->n_tensors, sizeof *dir->tensors, compare_tensors);
    for (size_t i = 1; i < dir->n_tensors; i++) {
        const TensorRef *a = &dir->tensors[i - 1], *b = &dir->tensors[i];
        if (compare_tensors(a, b) == 0)
            return status_fail(status, STATUS_INPUT, "%s: tensor %.200s stands in two files, %s and %s", dir->path,
                               a->entry->name, a->file->path, b->file->path);
    }
    return true;
}

/* Each tensor of the index must be where the index says. */
static bool check_index(const ModelDir *dir, const json_t *map, Status *status) {
    const char *name;
    json_t *shard;
    json_object_foreach((json_t *)map, name, shard) {
        const TensorRef *tensor = model_dir_find(dir, name);
        if (!tensor || strcmp(strrchr(tensor->file->path, '/') + 1, json_string_value(shard)) != 0)
            return status_fail(status, STATUS_INPUT,
                               "%s/%s: tensor %.200s should be in %.200s, which lacks it; the "
                               "shards are not those of this index",
                               dir->path, index_name, name, json_string_value(shard));
    }
    return true;
}

static bool open_sharded(ModelDir *dir, Status *status) {
    json_t *index = read_object(dir->path, index_name, status);
    const json_t *map = json_object_get(index, "weight_map");
    if (index && !json_is_object(map))
        status_fail(status, STATUS_INPUT, "%s/%s: has no object \"weight_map\"", dir->path, index_name);
    bool is_open =
        !status->failed && open_shards(dir, map, status) && list_tensors(dir, status) && check_index(dir, map, status);
    json_decref(index);
    return is_open;
}

static bool open_weights(ModelDir *dir, Status *status) {
    if (has_file(dir->path, single_name))
        return open_single(dir, status) && list_tensors(dir, status);
    if (has_file(dir->path, index_name))
        return open_sharded(dir, status);
    if (access(dir->path, F_OK) != 0)
        return status_fail_errno(status, "%s", dir->path);
    const char *hint = "";
    if (has_file(dir->path, "pytorch_model.bin") || has_file(dir->path, "pytorch_model.bin.index.json"))
        hint = "; its pytorch_model.bin must be saved as safetensors first";
    else if (has_file(dir->path, "latest"))
        hint = "; it holds checkpoints of a run, the newest is the directory latest in it";
    return status_fail(status, STATUS_INPUT, "%s: has neither %s nor %s%s", dir->path, single_name, index_name, hint);
}

bool model_dir_open(ModelDir *dir, const char *path, Status *status) {
    *dir = (ModelDir){.path = strdup(path)};
    if (!dir->path)
        status_fail_errno(status, "%s", path);
    else if (open_weights(dir, status))
        read_extras(path, &dir->extras, status);
    if (status->failed)
        model_dir_close(dir);
    return !status->failed;
}

bool model_dir_open_file(ModelDir *dir, const char *path, Status *status) {
    *dir = (ModelDir){.path = strdup(path), .files = calloc(1, sizeof *dir->files)};
    if (!dir->path || !dir->files)
        status_fail_errno(status, "%s", path);
    else if (safetensors_open(dir->files, path, status)) {
        dir->n_files = 1;
        list_tensors(dir, status);
    }
    if (status->failed)
        model_dir_close(dir);
    return !status->failed;
}

void model_dir_close(ModelDir *dir) {
    model_extras_free(&dir->extras);
    for (size_t i = 0; i < dir->n_files; i++)
        safetensors_close(&dir->files[i]);
    free(dir->files);
    free(dir->tensors);
    free(dir->path);
    *dir = (ModelDir){0};
}

const TensorRef *model_dir_find(const ModelDir *dir, const char *name) {
    SafetensorsEntry entry = {.name = name};
    TensorRef key = {NULL, &entry};
    return dir->n_tensors ? bsearch(&key, dir->tensors, dir->n_tensors, sizeof key, compare_tensors) : NULL;
}

ModelExtras model_dir_take_extras(ModelDir *dir) {
    ModelExtras extras = dir->extras;
    dir->extras = (ModelExtras){0};
    return extras;
}
