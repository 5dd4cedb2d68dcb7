#include "runtime/export.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "runtime/model_config.h"
#include "runtime/weights_draw.h"
#include "runtime/weights_map.h"

/* A tensor of the export: a weight, or one expert of it. */
typedef struct {
    char *name;
    const float *values;
    uint64_t n_elements;
    int rank;
    const int64_t *dims;
    size_t shard;
} ExportTensor;

typedef struct {
    ExportTensor *tensors;
    size_t n_tensors;
    size_t n_shards;
    uint64_t n_bytes;
    Dtype dtype;
    Passage *passage;
} ExportList;

/* ---- What is written ------------------------------------------------------------------------------------------- */

static void export_list_free(ExportList *list) {
    for (size_t i = 0; i < list->n_tensors; i++)
        free(list->tensors[i].name);
    free(list->tensors);
}

static bool list_weight(ExportList *list, const MoecWeight *weight, const void *space, Status *status) {
    int first_dim = weight_is_split(weight) ? 1 : 0;
    int64_t n = weight_is_split(weight) ? weight->experts : 1;
    uint64_t n_elements = weight_elements(weight) / (uint64_t)n;
    const float *values = (const float *)(const void *)((const char *)space + weight->offset);
    for (int64_t e = 0; e < n; e++) {
        ExportTensor tensor = {.name = weight_export_name(weight, e),
                               .values = values + (uint64_t)e * n_elements,
                               .n_elements = n_elements,
                               .rank = weight->rank - first_dim,
                               .dims = weight->dims + first_dim};
        if (!tensor.name)
            return status_fail_errno(status, "export of %s", weight->name);
        list->tensors[list->n_tensors++] = tensor;
    }
    return true;
}

/* Tensors in the order of the plan, shared out to files of at most shard_bytes (or of one tensor). */
static void share_out(ExportList *list, uint64_t shard_bytes) {
    uint64_t n_in_shard = 0;
    list->n_shards = 1;
    for (size_t i = 0; i < list->n_tensors; i++) {
        uint64_t n_bytes = list->tensors[i].n_elements * dtype_bits(list->dtype) / 8;
        if (n_in_shard > 0 && n_bytes > shard_bytes - (n_in_shard < shard_bytes ? n_in_shard : shard_bytes)) {
            list->n_shards++;
            n_in_shard = 0;
        }
        list->tensors[i].shard = list->n_shards - 1;
        n_in_shard += n_bytes;
        list->n_bytes += n_bytes;
    }
}

static bool export_list_make(ExportList *list, const MoecPlan *plan, const void *space, const ExportOptions *options,
                             Status *status) {
    size_t n = 0;
    for (uint32_t i = 0; i < plan->n_weights; i++)
        n += weight_is_split(&plan->weights[i]) ? (size_t)plan->weights[i].experts : 1;
    *list = (ExportList){
        .tensors = calloc(n + 1, sizeof(ExportTensor)), .dtype = options->dtype, .passage = options->passage};
    if (!list->tensors)
        return status_fail_errno(status, "list of tensors to export");
    for (uint32_t i = 0; i < plan->n_weights; i++) {
        if (!list_weight(list, &plan->weights[i], space, status))
            return false;
    }
    share_out(list, options->shard_bytes ? options->shard_bytes : EXPORT_SHARD_BYTES);
    return true;
}

/* ---- Files ----------------------------------------------------------------------------------------------------- */

enum { SHARD_NAME_BYTES = 80 };

static void shard_name(const ExportList *list, size_t shard, char name[SHARD_NAME_BYTES]) {
    if (list->n_shards == 1)
        snprintf(name, SHARD_NAME_BYTES, "model.safetensors");
    else
        snprintf(name, SHARD_NAME_BYTES, "model-%05zu-of-%05zu.safetensors", shard + 1, list->n_shards);
}

static void append(const ExportList *list, const ExportTensor *tensor, OutputFile *file, Status *status) {
    uint64_t n_bytes = tensor->n_elements * sizeof *tensor->values;
    if (passage_get(list->passage, tensor->values, n_bytes, tensor->name, status))
        safetensors_append(file, list->dtype, tensor->values, tensor->n_elements, status);
    passage_drop(list->passage, tensor->values, n_bytes);
}

/* Tensors first .. end-1 into one file. */
static bool write_shard(const ExportList *list, size_t first, size_t end, const OutputDir *dir, Status *status) {
    char name[SHARD_NAME_BYTES];
    shard_name(list, list->tensors[first].shard, name);
    SafetensorsSpec *specs = calloc(end - first, sizeof *specs);
    OutputFile *file = specs ? output_file_open(dir, name, status) : NULL;
    if (!file) {
        free(specs);
        return status_fail_errno(status, "%s/%s", dir->path, name);
    }
    for (size_t i = first; i < end; i++)
        specs[i - first] = (SafetensorsSpec){list->tensors[i].name, list->tensors[i].rank, list->tensors[i].dims};
    safetensors_write_header(file, list->dtype, specs, end - first, status);
    for (size_t i = first; i < end && !status->failed; i++)
        append(list, &list->tensors[i], file, status);
    free(specs);
    return output_file_close(file, status);
}

static bool write_shards(const ExportList *list, const OutputDir *dir, Status *status) {
    for (size_t first = 0, end; first < list->n_tensors; first = end) {
        end = first + 1;
        while (end < list->n_tensors && list->tensors[end].shard == list->tensors[first].shard)
            end++;
        if (!write_shard(list, first, end, dir, status))
            return false;
    }
    return true;
}

/* {"metadata": {"total_size": bytes of data}, "weight_map": {tensor: file}}; NULL when out of memory. */
static json_t *make_index(const ExportList *list) {
    json_t *map = json_object();
    bool is_made = map;
    for (size_t i = 0; i < list->n_tensors && is_made; i++) {
        char name[SHARD_NAME_BYTES];
        shard_name(list, list->tensors[i].shard, name);
        is_made = json_object_set_new(map, list->tensors[i].name, json_string(name)) == 0;
    }
    if (!is_made) {
        json_decref(map);
        return NULL;
    }
    return json_pack("{s: {s: I}, s: o}", "metadata", "total_size", (json_int_t)list->n_bytes, "weight_map", map);
}

static bool write_config(const MoecPlan *plan, const ModelExtras *extras, Dtype dtype, const OutputDir *dir,
                         Status *status) {
    const char *name = dtype == DTYPE_BF16 ? "bfloat16" : "float32";
    json_t *config = model_config_export(plan, extras->config, name, status);
    return config && output_dir_add_json(dir, "config.json", config, status);
}

static bool write_side_files(const ModelExtras *extras, const OutputDir *dir, Status *status) {
    for (size_t i = 0; i < extras->n_files; i++) {
        const SideFile *file = &extras->files[i];
        if (!output_dir_add(dir, file->name, file->bytes, file->n_bytes, status))
            return false;
    }
    return true;
}

bool export_write(const MoecPlan *plan, const void *space, const ModelExtras *extras, const ExportOptions *options,
                  const OutputDir *dir, Status *status) {
    ExportList list;
    bool is_written = export_list_make(&list, plan, space, options, status) &&
                      write_config(plan, extras, options->dtype, dir, status) &&
                      write_side_files(extras, dir, status) && write_shards(&list, dir, status);
    if (is_written && list.n_shards > 1)
        output_dir_add_json(dir, "model.safetensors.index.json", make_index(&list), status);
    export_list_free(&list);
    return !status->failed;
}

/* ---- A directory of its own ------------------------------------------------------------------------------------ */

static bool export_to(const MoecPlan *plan, const void *space, const ModelExtras *extras, const ExportOptions *options,
                      const char *path, const char *temporary, Status *status) {
    OutputDir dir;
    struct stat about;
    if (lstat(path, &about) == 0)
        return status_fail(status, STATUS_INPUT, "%s: exists already; choose another name, or remove it first", path);
    if (!output_dir_begin(&dir, options->disk ? options->disk : disk_system(), path, temporary, status))
        return false;
    if (export_write(plan, space, extras, options, &dir, status))
        return output_dir_publish(&dir, status);
    output_dir_abandon(&dir);
    return false;
}

bool export_model(const MoecPlan *plan, const void *space, const ModelExtras *extras, const ExportOptions *options,
                  const char *path, Status *status) {
    size_t length = strlen(path);
    while (length > 1 && path[length - 1] == '/') /* the temporary directory is a sibling */
        length--;
    char *plain = strndup(path, length), *temporary = NULL;
    if (!plain || asprintf(&temporary, "%s.tmp-%ld", plain, (long)getpid()) < 0) {
        temporary = NULL;
        status_fail_errno(status, "%s", path);
    } else {
        export_to(plan, space, extras, options, plain, temporary, status);
    }
    free(plain);
    free(temporary);
    return !status->failed;
}
