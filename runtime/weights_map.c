#include "runtime/weights_map.h"

#include <assert.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "runtime/weights_draw.h"

float *weight_values(const MoecWeight *weight, void *space) {
    return (float *)(void *)((char *)space + weight->offset);
}

/* A copy of a whole tensor to `to`, with the shape of the last `rank` dims of the weight. */
static WeightCopy whole_copy(const MoecWeight *weight, int rank, float *to) {
    WeightCopy copy = {.weight = weight, .rank = rank, .n_blocks = 1, .run = 1, .to = to};
    for (int i = 0; i < rank; i++) {
        copy.dims[i] = weight->dims[weight->rank - rank + i];
        copy.run *= (uint64_t)copy.dims[i];
    }
    return copy;
}

/* ---- Exports --------------------------------------------------------------------------------------------------- */

static const char expert_mark[] = "{e}";

static const char *export_template(const MoecWeight *weight) {
    return weight->export_name ? weight->export_name : weight->name;
}

bool weight_is_split(const MoecWeight *weight) {
    return weight->experts > 0 && strstr(export_template(weight), expert_mark);
}

char *weight_export_name(const MoecWeight *weight, int64_t expert) {
    const char *template = export_template(weight);
    if (!weight_is_split(weight))
        return strdup(template);
    const char *mark = strstr(template, expert_mark);
    char *name = NULL;
    int length =
        asprintf(&name, "%.*s%" PRId64 "%s", (int)(mark - template), template, expert, mark + sizeof expert_mark - 1);
    return length < 0 ? NULL : name;
}

static bool map_exported(const MoecWeight *weight, void *space, CopyList *list, Status *status) {
    bool is_split = weight_is_split(weight);
    int64_t n = is_split ? weight->experts : 1;
    float *values = weight_values(weight, space);
    for (int64_t e = 0; e < n && !status->failed; e++) {
        float *to = values + (uint64_t)e * weight_slice_elements(weight);
        WeightCopy copy = whole_copy(weight, is_split ? weight->rank - 1 : weight->rank, to);
        copy.name = weight_export_name(weight, e);
        copies_add(list, &copy, status);
    }
    return !status->failed;
}

/* ---- Fused exports --------------------------------------------------------------------------------------------- */

/* Rows: what a name ends in where each expert is a tensor, and which part of which stack holds it in transformers 5.
   gate_up_proj [E, 2 ff, d]: the gate's rows first. */
typedef struct {
    const char *split, *fused;
    uint64_t part, n_parts;
} FusedRow;

static const FusedRow fused_rows[] = {
    {".experts.{e}.w1.weight", ".experts.gate_up_proj", 0, 2},
    {".experts.{e}.w3.weight", ".experts.gate_up_proj", 1, 2},
    {".experts.{e}.w2.weight", ".experts.down_proj", 0, 1},
    {".experts.{e}.gate_proj.weight", ".experts.gate_up_proj", 0, 2},
    {".experts.{e}.up_proj.weight", ".experts.gate_up_proj", 1, 2},
    {".experts.{e}.down_proj.weight", ".experts.down_proj", 0, 1},
};

static bool ends_in(const char *text, const char *end) {
    size_t n = strlen(text), n_end = strlen(end);
    return n >= n_end && strcmp(text + n - n_end, end) == 0;
}

static const FusedRow *find_fused(const MoecWeight *weight) {
    for (size_t i = 0; i < sizeof fused_rows / sizeof *fused_rows; i++) {
        if (weight->experts > 0 && weight->rank == 3 && ends_in(export_template(weight), fused_rows[i].split))
            return &fused_rows[i];
    }
    return NULL;
}

/* The last n_cut letters of the template give way to `end`; transformers 5 calls Mixtral's block_sparse_moe mlp. */
static char *fused_name(const char *template, size_t n_cut, const char *end) {
    static const char old[] = ".block_sparse_moe.";
    char *name = NULL, *renamed = NULL;
    if (asprintf(&name, "%.*s%s", (int)(strlen(template) - n_cut), template, end) < 0)
        return NULL;
    const char *block = strstr(name, old);
    if (!block)
        return name;
    int length = asprintf(&renamed, "%.*s.mlp.%s", (int)(block - name), name, block + sizeof old - 1);
    free(name);
    return length < 0 ? NULL : renamed;
}

static bool map_fused(const MoecWeight *weight, void *space, CopyList *list, Status *status) {
    const FusedRow *row = find_fused(weight);
    if (!row && weight_is_split(weight))
        return map_exported(weight, space, list, status);
    WeightCopy copy = whole_copy(weight, weight->rank, weight_values(weight, space));
    if (row) {
        copy.name = fused_name(export_template(weight), strlen(row->split), row->fused);
        copy.dims[1] *= (int64_t)row->n_parts;
        copy.n_blocks = row->n_parts;
        copy.block = row->part;
        copy.run = weight_slice_elements(weight);
    } else {
        copy.name = fused_name(export_template(weight), 0, "");
    }
    return copies_add(list, &copy, status);
}

/* ---- Dense checkpoints ----------------------------------------------------------------------------------------- */

/* Expert e gets segment e mod G of dim D of the dense tensor, which has G times the extent of the expert's. */
static bool map_dense(const MoecWeight *weight, void *space, CopyList *list, Status *status) {
    if (!weight->source)
        return true;
    bool is_expert = weight->experts > 0;
    int rank = is_expert ? weight->rank - 1 : weight->rank, dim = (int)weight->segment_dim;
    int64_t n = is_expert ? weight->experts : 1, segments = weight->segments > 1 ? weight->segments : 1;
    for (int64_t e = 0; e < n && !status->failed; e++) {
        WeightCopy copy =
            whole_copy(weight, rank, weight_values(weight, space) + (uint64_t)e * weight_slice_elements(weight));
        copy.name = strdup(weight->source);
        copy.is_replica = true;
        copy.expert = e;
        if (segments > 1) {
            assert(dim < rank);
            for (int i = 0; i < dim; i++) {
                assert(copy.dims[i] > 0);
                copy.run /= (uint64_t)copy.dims[i];
            }
            copy.dims[dim] *= segments;
            copy.n_blocks = (uint64_t)segments;
            copy.block = (uint64_t)(e % segments);
        }
        copies_add(list, &copy, status);
    }
    return !status->failed;
}

bool weights_map(const MoecPlan *plan, MapLayout layout, void *space, CopyList *list, Status *status) {
    static bool (*const map[MAP_COUNT])(const MoecWeight *, void *, CopyList *, Status *) = {
        [MAP_EXPORTED] = map_exported, [MAP_EXPORTED_FUSED] = map_fused, [MAP_DENSE] = map_dense};
    for (uint32_t i = 0; i < plan->n_weights && !status->failed; i++)
        map[layout](&plan->weights[i], space, list, status);
    return !status->failed;
}
