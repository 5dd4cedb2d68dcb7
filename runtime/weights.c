#include "runtime/weights.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "runtime/model_config.h"
#include "runtime/weights_draw.h"
#include "runtime/weights_map.h"

/* ---- Which layout ---------------------------------------------------------------------------------------------- */

/* A way to read the checkpoint: the best is the one with the fewest problems, the first of equals. */
typedef struct {
    MapLayout layout;
    const Renaming *renaming;
    size_t n_problems;
} Reading;

/* Whether an export has other names than the dense checkpoint: else both layouts are one, the dense one. */
static bool exports_differ(const MoecPlan *plan) {
    for (uint32_t i = 0; i < plan->n_weights; i++) {
        const MoecWeight *weight = &plan->weights[i];
        if (!weight->source || (weight->export_name && strcmp(weight->export_name, weight->source) != 0))
            return true;
    }
    return false;
}

static void try_renamings(CopyList *list, const ModelDir *dir, MapLayout layout, Reading *best) {
    for (const Renaming *renaming = renamings; renaming->prefix && best->n_problems > 0; renaming++) {
        size_t n_problems = copies_find(list, dir, renaming);
        if (n_problems < best->n_problems)
            *best = (Reading){layout, renaming, n_problems};
    }
}

/* Tries all readings; on success `list` has the copies of the best one. */
static bool choose_reading(const MoecPlan *plan, const ModelDir *dir, void *space, Reading *best, CopyList *list,
                           Status *status) {
    *best = (Reading){MAP_DENSE, renamings, SIZE_MAX};
    for (int layout = exports_differ(plan) ? MAP_EXPORTED : MAP_DENSE; layout < MAP_COUNT; layout++) {
        if (weights_map(plan, (MapLayout)layout, space, list, status))
            try_renamings(list, dir, (MapLayout)layout, best);
        copies_free(list);
    }
    if (status->failed || !weights_map(plan, best->layout, space, list, status))
        return false;
    copies_find(list, dir, best->renaming);
    return true;
}

/* ---- What is left over ----------------------------------------------------------------------------------------- */

/* Buffers that older versions of transformers saved with the weights. */
static const char *const harmless_ends[] = {".rotary_emb.inv_freq", ".attn.bias", ".attn.masked_bias"};

/* A checkpoint with tied embeddings may hold them twice. */
static bool is_tied_head(const ModelDir *dir, const char *name) {
    return strcmp(name, "lm_head.weight") == 0 &&
           json_is_true(json_object_get(dir->extras.config, "tie_word_embeddings"));
}

static bool is_harmless(const ModelDir *dir, const char *name) {
    size_t length = strlen(name);
    for (size_t i = 0; i < sizeof harmless_ends / sizeof *harmless_ends; i++) {
        size_t n_end = strlen(harmless_ends[i]);
        if (length >= n_end && strcmp(name + length - n_end, harmless_ends[i]) == 0)
            return true;
    }
    return is_tied_head(dir, name);
}

static bool *mark_used(const ModelDir *dir, const CopyList *list) {
    bool *is_used = calloc(dir->n_tensors + 1, sizeof *is_used);
    for (size_t i = 0; i < list->n && is_used; i++)
        is_used[model_dir_find(dir, list->items[i].from.entry->name) - dir->tensors] = true;
    return is_used;
}

enum { MAX_UNUSED_NAMES = 4 };

static void warn_unused(const ModelDir *dir, const char *names, WeightsReport *report) {
    bool is_one = report->n_unused == 1;
    snprintf(report->warning, sizeof report->warning,
             "%.200s: %zu tensor%s not used: %.600s%s; if the model needs %s, the .moe lacks weights", dir->path,
             report->n_unused, is_one ? " is" : "s are", names, report->n_unused > MAX_UNUSED_NAMES ? ", .." : "",
             is_one ? "it" : "them");
}

static bool report_unused(const ModelDir *dir, const CopyList *list, WeightsReport *report, Status *status) {
    char names[600] = "";
    size_t length = 0;
    bool *is_used = mark_used(dir, list);
    if (!is_used)
        return status_fail_errno(status, "list of tensors of %s", dir->path);
    for (size_t i = 0; i < dir->n_tensors; i++) {
        const char *name = dir->tensors[i].entry->name;
        if (is_used[i] || is_harmless(dir, name))
            continue;
        if (report->n_unused < MAX_UNUSED_NAMES)
            length += (size_t)snprintf(names + length, sizeof names - length, "%s%.100s", length ? ", " : "", name);
        report->n_unused++;
    }
    if (report->n_unused > 0)
        warn_unused(dir, names, report);
    free(is_used);
    return true;
}

/* ---- Loading --------------------------------------------------------------------------------------------------- */

static bool check_config(const MoecPlan *plan, const ModelDir *dir, bool is_export, Status *status) {
    if (!dir->extras.config)
        return true;
    char *path = NULL;
    if (asprintf(&path, "%s/config.json", dir->path) < 0)
        return status_fail_errno(status, "%s/config.json", dir->path);
    model_config_check(plan, dir->extras.config, path, is_export, status);
    free(path);
    return !status->failed;
}

static bool draw(const MoecWeight *weight, uint64_t seed, void *space, Passage *passage, Status *status) {
    float *values = weight_values(weight, space);
    weight_draw_initial(weight, seed, values);
    return passage_put(passage, values, weight_elements(weight) * sizeof *values, weight->name, status);
}

static bool draw_unsourced(const MoecPlan *plan, uint64_t seed, void *space, Passage *passage, Status *status) {
    for (uint32_t i = 0; i < plan->n_weights && !status->failed; i++) {
        if (!plan->weights[i].source)
            draw(&plan->weights[i], seed, space, passage, status);
    }
    return !status->failed;
}

static bool load_reading(const MoecPlan *plan, const ModelDir *dir, uint64_t seed, void *space, const Reading *reading,
                         const CopyList *list, Passage *passage, Progress *progress, WeightsReport *report,
                         Status *status) {
    bool is_dense = reading->layout == MAP_DENSE;
    if (!check_config(plan, dir, !is_dense, status))
        return false;
    if (reading->n_problems > 0)
        return copies_report(list, dir->path, reading->n_problems, status);
    report->layout = is_dense ? WEIGHTS_DENSE : WEIGHTS_EXPORTED;
    report->is_fused = reading->layout == MAP_EXPORTED_FUSED;
    report->renamed = reading->renaming->text;
    return report_unused(dir, list, report, status) &&
           copies_read(list, seed, passage, progress, &report->n_bytes, status) &&
           (!is_dense || draw_unsourced(plan, seed, space, passage, status));
}

bool weights_load(const MoecPlan *plan, const ModelDir *dir, uint64_t seed, void *space, Passage *passage,
                  Progress *progress, WeightsReport *report, Status *status) {
    CopyList list = {0};
    Reading reading;
    *report = (WeightsReport){.renamed = ""};
    bool is_loaded = choose_reading(plan, dir, space, &reading, &list, status) &&
                     load_reading(plan, dir, seed, space, &reading, &list, passage, progress, report, status);
    copies_free(&list);
    return is_loaded;
}

bool weights_reload(const MoecPlan *plan, const ModelDir *dir, void *space, Passage *passage, Progress *progress,
                    Status *status) {
    CopyList list = {0};
    uint64_t n_bytes;
    if (weights_map(plan, MAP_EXPORTED, space, &list, status)) {
        size_t n_problems = copies_find(&list, dir, renamings);
        if (n_problems > 0)
            copies_report(&list, dir->path, n_problems, status);
        else if (copies_all_f32(&list, dir->path, status))
            copies_read(&list, 0, passage, progress, &n_bytes, status);
    }
    copies_free(&list);
    return !status->failed;
}

bool weights_initialise(const MoecPlan *plan, uint64_t seed, void *space, Passage *passage, Status *status) {
    for (uint32_t i = 0; i < plan->n_weights && !status->failed; i++)
        draw(&plan->weights[i], seed, space, passage, status);
    return !status->failed;
}
