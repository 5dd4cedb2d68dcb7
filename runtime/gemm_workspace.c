#include "runtime/gemm_workspace.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

#include "runtime/gemm.h"
#include "runtime/status.h"

typedef struct Workspace Workspace;
struct Workspace {
    float *buffers[GEMM_BUFFER_COUNT];
    int64_t n_floats[GEMM_BUFFER_COUNT];
    Workspace *next;
};

/* Those of all threads, and how often they were released: a thread that is behind has none. */
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static Workspace *workspaces;
static long n_releases;

static _Thread_local Workspace *own;
static _Thread_local long own_releases = -1;

enum { PAGE = 4096, PAGE_FLOATS = PAGE / sizeof(float) };

static void *allocate(size_t n_bytes) {
    void *memory = aligned_alloc(PAGE, n_bytes);
    if (!memory) {
        fprintf(stderr, "error: no memory for matrix products: %zu bytes\n", n_bytes);
        _Exit(STATUS_SYSTEM);
    }
    return memory;
}

static Workspace *open_workspace(void) {
    own = allocate(PAGE);
    *own = (Workspace){0};
    pthread_mutex_lock(&lock);
    own->next = workspaces;
    workspaces = own;
    own_releases = n_releases;
    pthread_mutex_unlock(&lock);
    return own;
}

float *gemm_workspace(GemmBuffer buffer, int64_t n) {
    Workspace *workspace = own_releases == __atomic_load_n(&n_releases, __ATOMIC_ACQUIRE) ? own : open_workspace();
    if (n > workspace->n_floats[buffer]) {
        free(workspace->buffers[buffer]);
        n = (n + n / 8 + PAGE_FLOATS - 1) / PAGE_FLOATS * PAGE_FLOATS;
        workspace->buffers[buffer] = allocate((size_t)n * sizeof(float));
        workspace->n_floats[buffer] = n;
    }
    return workspace->buffers[buffer];
}

void moec_gemm_release(void) {
    pthread_mutex_lock(&lock);
    while (workspaces) {
        Workspace *next = workspaces->next;
        for (int i = 0; i < GEMM_BUFFER_COUNT; i++)
            free(workspaces->buffers[i]);
        free(workspaces);
        workspaces = next;
    }
    __atomic_fetch_add(&n_releases, 1, __ATOMIC_RELEASE);
    pthread_mutex_unlock(&lock);
}
