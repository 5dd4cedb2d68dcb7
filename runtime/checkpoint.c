#include "runtime/checkpoint.h"

#include <assert.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "runtime/checkpoint_dir.h"
#include "runtime/export.h"
#include "runtime/weights_draw.h"
#include "runtime/weights_read.h"

/* A folder of its own: some readers of models take every *.safetensors beside config.json for weights. */
#define TRAINING_FOLDER "training"
#define OPTIMIZER_FILE "training/optimizer.safetensors"

enum { STATE_FORMAT = 1 };

/* What names in the optimizer's file begin with: as the IR names these states. */
typedef struct {
    const char *prefix;
    MoecSpace space;
} MomentKind;

static const MomentKind moment_kinds[] = {{"moment1:", MOEC_SPACE_MOMENT1}, {"moment2:", MOEC_SPACE_MOMENT2}};
enum { N_MOMENT_KINDS = sizeof moment_kinds / sizeof *moment_kinds };

void train_state_free(TrainState *state) {
    free(state->data);
    *state = (TrainState){0};
}

/* NULL after a failure. */
static char *moment_name(const MomentKind *kind, const MoecWeight *weight, Status *status) {
    char *name = NULL;
    if (asprintf(&name, "%s%s", kind->prefix, weight->name) >= 0)
        return name;
    status_fail_errno(status, "%s%s", kind->prefix, weight->name);
    return NULL;
}

static float *moment_values(const MomentKind *kind, const MoecWeight *weight, void *const *spaces) {
    return (float *)(void *)((char *)spaces[kind->space] + weight->offset);
}

/* ---- Saving ---------------------------------------------------------------------------------------------------- */

static void free_specs(SafetensorsSpec *specs, size_t n) {
    for (size_t i = 0; i < n; i++)
        free((char *)specs[i].name);
    free(specs);
}

/* All first moments, then all second ones; NULL after a failure. */
static SafetensorsSpec *list_moments(const MoecPlan *plan, size_t *n, Status *status) {
    SafetensorsSpec *specs = calloc(N_MOMENT_KINDS * (size_t)plan->n_weights + 1, sizeof *specs);
    *n = 0;
    if (!specs) {
        status_fail_errno(status, "list of the optimizer's tensors");
        return NULL;
    }
    for (int kind = 0; kind < N_MOMENT_KINDS; kind++) {
        for (uint32_t i = 0; i < plan->n_weights && !status->failed; i++) {
            const MoecWeight *weight = &plan->weights[i];
            char *name = moment_name(&moment_kinds[kind], weight, status);
            if (name)
                specs[(*n)++] = (SafetensorsSpec){name, weight->rank, weight->dims};
        }
    }
    if (!status->failed)
        return specs;
    free_specs(specs, *n);
    return NULL;
}

static bool append_moments(const CheckpointTarget *target, OutputFile *file, Status *status) {
    for (int kind = 0; kind < N_MOMENT_KINDS; kind++) {
        for (uint32_t i = 0; i < target->plan->n_weights && !status->failed; i++) {
            const MoecWeight *weight = &target->plan->weights[i];
            const float *values = moment_values(&moment_kinds[kind], weight, target->spaces);
            uint64_t n = weight_elements(weight);
            if (passage_get(target->passage, values, n * sizeof *values, weight->name, status))
                safetensors_append(file, DTYPE_F32, values, n, status);
            passage_drop(target->passage, values, n * sizeof *values);
        }
    }
    return !status->failed;
}

static bool write_optimizer(const CheckpointTarget *target, const OutputDir *dir, Status *status) {
    size_t n;
    SafetensorsSpec *specs = list_moments(target->plan, &n, status);
    if (!specs)
        return false;
    OutputFile *file = output_file_open(dir, OPTIMIZER_FILE, status);
    if (file) {
        if (safetensors_write_header(file, DTYPE_F32, specs, n, status))
            append_moments(target, file, status);
        output_file_close(file, status);
    }
    free_specs(specs, n);
    return !status->failed;
}

static bool write_state(const MoecPlan *plan, const TrainState *state, const OutputDir *dir, Status *status) {
    json_t *data = json_parse(state->data, strlen(state->data), "position in the data", status);
    if (!data)
        return false;
    json_t *object =
        json_pack("{s: i, s: s, s: s, s: I, s: I, s: o}", "format", STATE_FORMAT, "model", plan->model, "plan",
                  plan->hash, "step", (json_int_t)state->step, "seed", (json_int_t)state->seed, "data", data);
    return output_dir_add_json(dir, CHECKPOINT_STATE_FILE, object, status);
}

static bool write_checkpoint(const CheckpointTarget *target, const TrainState *state, const OutputDir *dir,
                             Status *status) {
    ExportOptions options = {.dtype = DTYPE_F32, .disk = dir->disk, .passage = target->passage};
    const void *weights = target->spaces[MOEC_SPACE_WEIGHT];
    return export_write(target->plan, weights, target->extras, &options, dir, status) &&
           output_folder_begin(dir, TRAINING_FOLDER, status) && write_optimizer(target, dir, status) &&
           write_state(target->plan, state, dir, status) && output_folder_sync(dir, TRAINING_FOLDER, status);
}

static bool publish_checkpoint(const CheckpointTarget *target, Disk *disk, const char *name, const TrainState *state,
                               Status *status) {
    OutputDir dir;
    char *path = checkpoint_path(target->directory, name, status);
    char *temporary = checkpoint_temporary_path(target->directory, name, status);
    if (path && temporary && output_dir_begin(&dir, disk, path, temporary, status)) {
        if (write_checkpoint(target, state, &dir, status))
            output_dir_publish(&dir, status);
        else
            output_dir_abandon(&dir);
    }
    free(path);
    free(temporary);
    return !status->failed;
}

bool checkpoint_save(const CheckpointTarget *target, const TrainState *state, Status *status) {
    assert(target->keep >= 0 && state->step >= 0);
    char name[CHECKPOINT_NAME_BYTES];
    checkpoint_name(state->step, name);
    Disk *disk = target->disk ? target->disk : disk_system();
    if (!checkpoint_remove_leftovers(disk, target->directory, status) ||
        !publish_checkpoint(target, disk, name, state, status) ||
        !output_link(disk, target->directory, CHECKPOINT_LATEST, name, status))
        return false;
    return target->keep == 0 || checkpoint_remove_old(disk, target->directory, state->step, target->keep, status);
}

/* ---- Loading --------------------------------------------------------------------------------------------------- */

static bool check_maker(const MoecPlan *plan, const json_t *object, const char *path, Status *status) {
    const char *hash = json_string_value(json_object_get(object, "plan"));
    const char *model = json_string_value(json_object_get(object, "model"));
    if (!hash || !model)
        return status_fail(status, STATUS_INPUT, "%s: lacks \"plan\" or \"model\"; is it a checkpoint of moec?", path);
    if (strcmp(hash, plan->hash) == 0)
        return true;
    return status_fail(status, STATUS_INPUT,
                       "%.300s: this run was begun by another program: %.100s, plan %.40s; this one is %.100s, plan "
                       "%.40s. Resume with the program that began it, or give the directory as --weights to begin a "
                       "new run from its weights",
                       path, model, hash, plan->model, plan->hash);
}

static bool read_fields(const json_t *object, const char *path, TrainState *state, Status *status) {
    const json_t *step = json_object_get(object, "step"), *seed = json_object_get(object, "seed");
    const json_t *data = json_object_get(object, "data");
    if (!json_is_integer(step) || json_integer_value(step) < 0 || !json_is_integer(seed) || !data)
        return status_fail(status, STATUS_INPUT, "%s: expected \"step\" and \"seed\", whole numbers, and \"data\"",
                           path);
    *state = (TrainState){json_integer_value(step), json_integer_value(seed), json_print_line(data)};
    return state->data || status_fail_errno(status, "%s", path);
}

static bool read_state_file(const MoecPlan *plan, const char *path, TrainState *state, Status *status) {
    size_t length;
    char *text = json_read_text(path, &length, status);
    json_t *object = text ? json_parse(text, length, path, status) : NULL;
    if (object) {
        const json_t *format = json_object_get(object, "format");
        if (!json_is_integer(format) || json_integer_value(format) != STATE_FORMAT)
            status_fail(status, STATUS_INPUT, "%s: is no training state of format %d, which this program reads", path,
                        (int)STATE_FORMAT);
        else if (check_maker(plan, object, path, status))
            read_fields(object, path, state, status);
    }
    json_decref(object);
    free(text);
    return !status->failed;
}

static bool map_moments(const MoecPlan *plan, void *const *spaces, CopyList *list, Status *status) {
    for (int kind = 0; kind < N_MOMENT_KINDS; kind++) {
        for (uint32_t i = 0; i < plan->n_weights && !status->failed; i++) {
            const MoecWeight *weight = &plan->weights[i];
            WeightCopy copy = {.name = moment_name(&moment_kinds[kind], weight, status),
                               .rank = weight->rank,
                               .weight = weight,
                               .n_blocks = 1,
                               .run = weight_elements(weight),
                               .to = moment_values(&moment_kinds[kind], weight, spaces)};
            memcpy(copy.dims, weight->dims, (size_t)weight->rank * sizeof *copy.dims);
            copies_add(list, &copy, status);
        }
    }
    return !status->failed;
}

static bool read_optimizer(const MoecPlan *plan, const char *path, void *const *spaces, Passage *passage,
                           Status *status) {
    ModelDir file;
    CopyList list = {0};
    uint64_t n_bytes;
    if (!model_dir_open_file(&file, path, status))
        return false;
    if (map_moments(plan, spaces, &list, status)) {
        size_t n_problems = copies_find(&list, &file, renamings);
        if (n_problems > 0)
            copies_report(&list, path, n_problems, status);
        else if (copies_all_f32(&list, path, status))
            copies_read(&list, 0, passage, NULL, &n_bytes, status);
    }
    copies_free(&list);
    model_dir_close(&file);
    return !status->failed;
}

static bool read_model(const MoecPlan *plan, const char *path, void *const *spaces, ModelExtras *extras,
                       Passage *passage, Progress *progress, Status *status) {
    ModelDir dir;
    if (!model_dir_open(&dir, path, status))
        return false;
    if (weights_reload(plan, &dir, spaces[MOEC_SPACE_WEIGHT], passage, progress, status))
        *extras = model_dir_take_extras(&dir);
    model_dir_close(&dir);
    return !status->failed;
}

bool checkpoint_load(const MoecPlan *plan, const char *path, void *const *spaces, TrainState *state,
                     ModelExtras *extras, Passage *passage, Progress *progress, Status *status) {
    *state = (TrainState){0};
    *extras = (ModelExtras){0};
    char *state_path = checkpoint_path(path, CHECKPOINT_STATE_FILE, status);
    char *optimizer_path = checkpoint_path(path, OPTIMIZER_FILE, status);
    bool is_loaded = state_path && optimizer_path && read_state_file(plan, state_path, state, status) &&
                     read_optimizer(plan, optimizer_path, spaces, passage, status) &&
                     read_model(plan, path, spaces, extras, passage, progress, status);
    free(state_path);
    free(optimizer_path);
    if (!is_loaded)
        train_state_free(state);
    return is_loaded;
}
