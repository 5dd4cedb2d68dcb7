/* Which tensor of the checkpoint each copy reads, and what is wrong with it. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "runtime/weights_read.h"

const Renaming renamings[] = {
    {"", true, ""},
    {"model.", false, "'model.' removed from names"},
    {"transformer.", false, "'transformer.' removed from names"},
    {"model.", true, "'model.' added to names"},
    {"transformer.", true, "'transformer.' added to names"},
    {NULL, false, NULL},
};

bool copies_add(CopyList *list, const WeightCopy *copy, Status *status) {
    if (list->n == list->capacity) {
        size_t capacity = list->capacity ? 2 * list->capacity : 64;
        WeightCopy *items = realloc(list->items, capacity * sizeof *items);
        if (items) {
            list->items = items;
            list->capacity = capacity;
        }
    }
    if (!copy->name || list->n == list->capacity) {
        status_fail_errno(status, "list of the tensors to read");
        free(copy->name);
        return false;
    }
    list->items[list->n++] = *copy;
    return true;
}

void copies_free(CopyList *list) {
    for (size_t i = 0; i < list->n; i++)
        free(list->items[i].name);
    free(list->items);
    *list = (CopyList){0};
}

/* The renamed tensor, or the one of the plain name. NULL: neither is there. */
static const TensorRef *find_renamed(const ModelDir *dir, const char *name, const Renaming *renaming) {
    const TensorRef *tensor = NULL;
    size_t length = strlen(renaming->prefix);
    if (!renaming->is_added) {
        if (strncmp(name, renaming->prefix, length) == 0)
            tensor = model_dir_find(dir, name + length);
    } else if (length > 0) {
        char *longer = NULL;
        if (asprintf(&longer, "%s%s", renaming->prefix, name) >= 0)
            tensor = model_dir_find(dir, longer);
        free(longer);
    }
    return tensor ? tensor : model_dir_find(dir, name);
}

static bool copy_fits(const WeightCopy *copy, const SafetensorsEntry *entry) {
    return dtype_is_readable(entry->dtype) && entry->rank == copy->rank &&
           memcmp(entry->dims, copy->dims, (size_t)copy->rank * sizeof *copy->dims) == 0;
}

static bool is_problem(const WeightCopy *copy) {
    return !copy->from.entry || !copy_fits(copy, copy->from.entry);
}

/* Replicas of one tensor are neighbours: problems are counted once. */
static bool is_repeated(const CopyList *list, size_t i) {
    return i > 0 && strcmp(list->items[i].name, list->items[i - 1].name) == 0;
}

size_t copies_find(CopyList *list, const ModelDir *dir, const Renaming *renaming) {
    size_t n_problems = 0;
    for (size_t i = 0; i < list->n; i++) {
        WeightCopy *copy = &list->items[i];
        const TensorRef *tensor = find_renamed(dir, copy->name, renaming);
        copy->from = tensor ? *tensor : (TensorRef){NULL, NULL};
        n_problems += is_problem(copy) && !is_repeated(list, i);
    }
    return n_problems;
}

/* ---- Messages -------------------------------------------------------------------------------------------------- */

enum { MAX_PROBLEMS = 4 };

static void print_shape(FILE *out, const int64_t *dims, int rank) {
    fputc('[', out);
    for (int i = 0; i < rank && i < COPY_MAX_RANK; i++)
        fprintf(out, "%s%" PRId64, i ? ", " : "", dims[i]);
    fputs(rank > COPY_MAX_RANK ? ", ..]" : "]", out);
}

static void print_problem(FILE *out, const WeightCopy *copy) {
    const SafetensorsEntry *entry = copy->from.entry;
    fprintf(out, "\n  %.80s ", copy->name);
    if (!entry) {
        fputs("is missing, expected shape ", out);
        print_shape(out, copy->dims, copy->rank);
    } else if (!dtype_is_readable(entry->dtype)) {
        fprintf(out, "is %s, expected F32, F16 or BF16", dtype_name(entry->dtype));
    } else {
        fputs("has shape ", out);
        print_shape(out, entry->dims, entry->rank);
        fputs(", expected ", out);
        print_shape(out, copy->dims, copy->rank);
    }
    if (copy->weight->where)
        fprintf(out, " (%s)", status_path_end(copy->weight->where, 60));
}

static void print_problems(FILE *out, const CopyList *list, size_t n_problems) {
    size_t n_printed = 0;
    for (size_t i = 0; i < list->n && n_printed < MAX_PROBLEMS; i++) {
        if (!is_problem(&list->items[i]) || is_repeated(list, i))
            continue;
        print_problem(out, &list->items[i]);
        n_printed++;
    }
    if (n_problems > n_printed)
        fprintf(out, "\n  and %zu more", n_problems - n_printed);
}

bool copies_report(const CopyList *list, const char *path, size_t n_problems, Status *status) {
    char *problems = NULL;
    size_t length;
    FILE *out = open_memstream(&problems, &length);
    if (out) {
        print_problems(out, list, n_problems);
        fclose(out);
    }
    status_fail(status, STATUS_INPUT,
                "%.200s: %zu tensor%s not what the program needs:%.600s\n"
                "give the checkpoint that the .moe describes, with all its files",
                path, n_problems, n_problems == 1 ? " is" : "s are", problems ? problems : "");
    free(problems);
    return false;
}

bool copies_all_f32(const CopyList *list, const char *path, Status *status) {
    for (size_t i = 0; i < list->n; i++) {
        const TensorRef *from = &list->items[i].from;
        if (from->entry->dtype != DTYPE_F32)
            return status_fail(status, STATUS_INPUT,
                               "%s: tensor %.200s is %s, but training resumes from F32 only; give this directory as "
                               "--weights to start anew from it",
                               path, list->items[i].name, dtype_name(from->entry->dtype));
    }
    return true;
}
