#include "runtime/cuda_library.h"

#include <dlfcn.h>
#include <glob.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { TRIED_BYTES = 512, REASON_BYTES = 192 };

/* ---- Places ------------------------------------------------------------------------------------------------------ */

bool cuda_places_add(CudaPlaces *places, const char *folder, Status *status) {
    for (size_t i = 0; i < places->n; i++) {
        if (strcmp(places->folders[i], folder) == 0)
            return true;
    }
    char **folders = realloc(places->folders, (places->n + 1) * sizeof *folders);
    if (folders)
        places->folders = folders;
    char *copy = folders ? strdup(folder) : NULL;
    if (!copy)
        return status_fail_errno(status, "looking for CUDA in %s", folder);
    places->folders[places->n++] = copy;
    return true;
}

/* Of the variable's folder, if it is set. */
static bool add_below(CudaPlaces *places, const char *variable, const char *folder, Status *status) {
    const char *root = getenv(variable);
    char *path;
    if (!root || !*root)
        return true;
    if (asprintf(&path, "%s/%s", root, folder) < 0)
        return status_fail_errno(status, "looking for CUDA in %s", root);
    cuda_places_add(places, path, status);
    free(path);
    return !status->failed;
}

/* Packages have a folder for each library (nvidia/cuda_nvrtc/lib) or, since CUDA 13, one for all (nvidia/cu13/lib). */
static bool add_packages(CudaPlaces *places, const char *variable, Status *status) {
    const char *root = getenv(variable);
    char *pattern;
    glob_t found;
    if (!root || !*root)
        return true;
    if (asprintf(&pattern, "%s/lib/python3*/site-packages/nvidia/*/lib", root) < 0)
        return status_fail_errno(status, "looking for CUDA in %s", root);
    if (glob(pattern, 0, NULL, &found) == 0) {
        for (size_t i = 0; i < found.gl_pathc && !status->failed; i++)
            cuda_places_add(places, found.gl_pathv[i], status);
        globfree(&found);
    }
    free(pattern);
    return !status->failed;
}

bool cuda_places_open(CudaPlaces *places, Status *status) {
    *places = (CudaPlaces){0};
    return add_below(places, "CUDA_HOME", "lib64", status) && add_packages(places, "VIRTUAL_ENV", status) &&
           add_packages(places, "CONDA_PREFIX", status) && cuda_places_add(places, "", status) &&
           cuda_places_add(places, "/usr/local/cuda/lib64", status);
}

void cuda_places_close(CudaPlaces *places) {
    for (size_t i = 0; i < places->n; i++)
        free(places->folders[i]);
    free(places->folders);
    *places = (CudaPlaces){0};
}

/* ---- Libraries --------------------------------------------------------------------------------------------------- */

/* Why a file that is there could not be used; the first such reason is the one to tell. */
typedef struct {
    char text[REASON_BYTES];
} Reason;

static void reason_set(Reason *reason, const char *path, const char *text) {
    if (!*reason->text)
        snprintf(reason->text, sizeof reason->text, "; %.80s: %.100s", status_path_end(path, 80), text);
}

/* What stands at `path`, a name or a file, with all symbols; false leaves nothing open. */
static bool open_path(CudaLibrary *library, const CudaLibraryKind *kind, const char *path, void *functions,
                      Reason *reason) {
    library->handle = dlopen(path, RTLD_NOW | RTLD_LOCAL);
    if (!library->handle) {
        /* A file that is not there is no news; one that is and won't load is. */
        const char *error = dlerror();
        if (error && !strstr(error, "No such file"))
            reason_set(reason, path, error);
        return false;
    }
    for (size_t i = 0; i < kind->n_symbols; i++) {
        void *address = dlsym(library->handle, kind->symbols[i].symbol);
        if (!address) {
            char text[REASON_BYTES];
            snprintf(text, sizeof text, "has no %s", kind->symbols[i].symbol);
            reason_set(reason, path, text);
            cuda_library_close(library);
            return false;
        }
        /* The table's field is a function pointer, which ISO C does not convert an object pointer to. */
        memcpy((char *)functions + kind->symbols[i].offset, &address, sizeof address);
    }
    return true;
}

static bool open_in(CudaLibrary *library, const CudaLibraryKind *kind, const char *folder, const char *name,
                    void *functions, Reason *reason, Status *status) {
    char *path;
    if (asprintf(&path, "%s%s%s", folder, *folder ? "/" : "", name) < 0)
        return status_fail_errno(status, "opening %s", name);
    if (open_path(library, kind, path, functions, reason)) {
        library->path = path;
        return true;
    }
    free(path);
    return false;
}

/* "A, B", with as much of the end as there is room for. */
static void append(char *text, size_t size, const char *item, const char *separator) {
    size_t length = strlen(text);
    snprintf(text + length, size - length, "%s%s", length ? separator : "", item);
}

static bool fail_missing(const CudaLibraryKind *kind, const CudaPlaces *places, const Reason *reason, Status *status) {
    char names[TRIED_BYTES / 4] = "", folders[TRIED_BYTES] = "";
    for (const char *const *name = kind->names; *name; name++)
        append(names, sizeof names, *name, " or ");
    for (size_t i = 0; i < places->n; i++)
        append(folders, sizeof folders, *places->folders[i] ? places->folders[i] : "the loader's path", ", ");
    return status_fail(status, STATUS_SYSTEM, "cannot open %s: no usable %s in %s%s; %s", kind->title, names, folders,
                       reason->text, kind->advice);
}

bool cuda_library_open(CudaLibrary *library, const CudaLibraryKind *kind, const CudaPlaces *places, void *functions,
                       Status *status) {
    Reason reason = {.text = ""};
    *library = (CudaLibrary){0};
    for (const char *const *name = kind->names; *name; name++) {
        for (size_t i = 0; i < places->n; i++) {
            if (open_in(library, kind, places->folders[i], *name, functions, &reason, status))
                return true;
            if (status->failed)
                return false;
        }
    }
    return fail_missing(kind, places, &reason, status);
}

void cuda_library_close(CudaLibrary *library) {
    if (library->handle)
        dlclose(library->handle);
    free(library->path);
    *library = (CudaLibrary){0};
}
