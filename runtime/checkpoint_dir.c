#include "runtime/checkpoint_dir.h"

#include <dirent.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "runtime/checkpoint.h"

/* ---- Names ----------------------------------------------------------------------------------------------------- */

static const char step_prefix[] = "step-";

enum { STEP_DIGITS = 8, MAX_STEP_DIGITS = 18 };

void checkpoint_name(int64_t step, char name[CHECKPOINT_NAME_BYTES]) {
    snprintf(name, CHECKPOINT_NAME_BYTES, "%s%0*" PRId64, step_prefix, (int)STEP_DIGITS, step);
}

/* The step of "step-00000120"; -1: not such a name. */
static int64_t step_of_name(const char *name) {
    size_t n_prefix = sizeof step_prefix - 1;
    if (strncmp(name, step_prefix, n_prefix) != 0 || strspn(name + n_prefix, "0123456789") > MAX_STEP_DIGITS)
        return -1;
    char same[CHECKPOINT_NAME_BYTES];
    int64_t step = strtoll(name + n_prefix, NULL, 10);
    checkpoint_name(step, same);
    return step >= 0 && strcmp(name, same) == 0 ? step : -1;
}

/* .step-00000120.tmp, .step-00000120.tmp.old */
static bool is_leftover(const char *name) {
    char step[CHECKPOINT_NAME_BYTES];
    const char *end = strstr(name, ".tmp");
    if (*name != '.' || !end || (strcmp(end, ".tmp") != 0 && strcmp(end, ".tmp.old") != 0))
        return false;
    int length = snprintf(step, sizeof step, "%.*s", (int)(end - name) - 1, name + 1);
    return length < CHECKPOINT_NAME_BYTES && step_of_name(step) >= 0;
}

char *checkpoint_path(const char *directory, const char *name, Status *status) {
    char *path = NULL;
    if (asprintf(&path, "%s/%s", directory, name) >= 0)
        return path;
    status_fail_errno(status, "%s/%s", directory, name);
    return NULL;
}

char *checkpoint_temporary_path(const char *directory, const char *name, Status *status) {
    char *path = NULL;
    if (asprintf(&path, "%s/.%s.tmp", directory, name) >= 0)
        return path;
    status_fail_errno(status, "%s/%s", directory, name);
    return NULL;
}

/* ---- Listing --------------------------------------------------------------------------------------------------- */

static int compare_falling(const void *left, const void *right) {
    int64_t a = *(const int64_t *)left, b = *(const int64_t *)right;
    return a > b ? -1 : a < b;
}

/* Room for one more after `n`; NULL, and `steps` freed, when out of memory. */
static int64_t *grow_steps(int64_t *steps, size_t n) {
    if (n & (n + 1)) /* grown when n + 1 is a power of two */
        return steps;
    int64_t *more = realloc(steps, 2 * (n + 1) * sizeof *steps);
    if (!more)
        free(steps);
    return more;
}

static int64_t *read_steps(DIR *entries, size_t *n) {
    int64_t *steps = malloc(sizeof *steps);
    const struct dirent *entry;
    *n = 0;
    while (steps && (entry = readdir(entries))) {
        int64_t step = step_of_name(entry->d_name);
        if (step < 0)
            continue;
        steps[(*n)++] = step;
        steps = grow_steps(steps, *n);
    }
    return steps;
}

/* The steps of all checkpoints, falling; NULL after a failure. The caller frees them. */
static int64_t *list_steps(const char *directory, size_t *n, Status *status) {
    DIR *entries = opendir(directory);
    int64_t *steps = entries ? read_steps(entries, n) : NULL;
    if (!entries && errno == ENOENT)
        status_fail(status, STATUS_INPUT, "%s: holds no checkpoint: there is no such directory", directory);
    else if (!steps)
        status_fail_errno(status, "%s: cannot list", directory);
    else
        qsort(steps, *n, sizeof *steps, compare_falling);
    if (entries)
        closedir(entries);
    return steps;
}

/* ---- Finding --------------------------------------------------------------------------------------------------- */

static bool is_checkpoint(const char *path, Status *status) {
    char *state = checkpoint_path(path, CHECKPOINT_STATE_FILE, status);
    bool is_there = state && access(state, F_OK) == 0;
    free(state);
    return is_there;
}

/* What DIRECTORY/latest names, so that messages name it too; NULL where there is no such checkpoint. */
static char *find_latest(const char *directory, Status *status) {
    char name[CHECKPOINT_NAME_BYTES];
    char *link = checkpoint_path(directory, CHECKPOINT_LATEST, status), *path = NULL;
    ssize_t length = link ? readlink(link, name, sizeof name - 1) : -1;
    if (length > 0) {
        name[length] = '\0';
        if (step_of_name(name) >= 0)
            path = checkpoint_path(directory, name, status);
    }
    free(link);
    if (path && is_checkpoint(path, status))
        return path;
    free(path);
    return NULL;
}

/* The checkpoint of the highest step: for directories whose link was lost in copying, or not yet made. */
static char *find_highest(const char *directory, Status *status) {
    char name[CHECKPOINT_NAME_BYTES], *path = NULL;
    size_t n;
    int64_t *steps = list_steps(directory, &n, status);
    for (size_t i = 0; steps && i < n && !path; i++) {
        checkpoint_name(steps[i], name);
        path = checkpoint_path(directory, name, status);
        if (!path || is_checkpoint(path, status))
            break;
        free(path);
        path = NULL;
    }
    free(steps);
    if (!path)
        status_fail(status, STATUS_INPUT,
                    "%s: holds no checkpoint: neither " CHECKPOINT_STATE_FILE " nor a folder step-NUMBER", directory);
    return path;
}

char *checkpoint_find(const char *directory, Status *status) {
    if (is_checkpoint(directory, status)) {
        char *path = strdup(directory);
        if (!path)
            status_fail_errno(status, "%s", directory);
        return path;
    }
    char *latest = find_latest(directory, status);
    return latest ? latest : find_highest(directory, status);
}

/* ---- Removing -------------------------------------------------------------------------------------------------- */

bool checkpoint_remove_leftovers(Disk *disk, const char *directory, Status *status) {
    DIR *entries = opendir(directory);
    if (!entries)
        return errno == ENOENT || status_fail_errno(status, "%s: cannot list", directory);
    const struct dirent *entry;
    while (!status->failed && (entry = readdir(entries))) {
        if (!is_leftover(entry->d_name))
            continue;
        char *path = checkpoint_path(directory, entry->d_name, status);
        if (path && !output_remove_tree(disk, path))
            status_fail_errno(status, "%s: cannot remove what a run left half-written", path);
        free(path);
    }
    closedir(entries);
    return !status->failed;
}

/* Takes the name away first: a checkpoint whose removal was cut short must not be taken for a whole one. */
static bool remove_step(Disk *disk, const char *directory, int64_t step, Status *status) {
    char name[CHECKPOINT_NAME_BYTES];
    checkpoint_name(step, name);
    char *path = checkpoint_path(directory, name, status),
         *temporary = checkpoint_temporary_path(directory, name, status);
    if (path && temporary && (disk->rename(disk, path, temporary) != 0 || !output_remove_tree(disk, temporary)))
        status_fail_errno(status, "%s: a newer checkpoint was written, but this one cannot be removed", path);
    free(path);
    free(temporary);
    return !status->failed;
}

bool checkpoint_remove_old(Disk *disk, const char *directory, int64_t step, int keep, Status *status) {
    size_t n;
    int64_t *steps = list_steps(directory, &n, status);
    int n_kept = 0;
    for (size_t i = 0; steps && i < n && !status->failed; i++) {
        if (steps[i] <= step && n_kept++ >= keep)
            remove_step(disk, directory, steps[i], status);
    }
    free(steps);
    return !status->failed;
}
