#include "runtime/gemm_workspace.h"

#include <inttypes.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>

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

static _Noreturn void fail(int64_t n_bytes) {
    fprintf(stderr, "error: no memory for matrix products: %" PRId64 " bytes\n", n_bytes);
    _Exit(STATUS_SYSTEM);
}

/* Mapped by itself, so that what was outgrown goes back to the system and pages that nobody has touched take nothing.
   The page behind the floats can't be touched. */
static float *map_floats(int64_t n) {
    size_t n_bytes = (size_t)n * sizeof(float);
    char *memory = mmap(NULL, n_bytes + PAGE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED || mprotect(memory, n_bytes, PROT_READ | PROT_WRITE) != 0)
        fail((int64_t)n_bytes);
    return (float *)(void *)memory;
}

static void unmap_floats(float *floats, int64_t n) {
    if (floats)
        munmap(floats, (size_t)n * sizeof(float) + PAGE);
}

static Workspace *open_workspace(void) {
    own = calloc(1, sizeof *own);
    if (!own)
        fail(sizeof *own);
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
        unmap_floats(workspace->buffers[buffer], workspace->n_floats[buffer]);
        n = (n + n / 8 + PAGE_FLOATS - 1) / PAGE_FLOATS * PAGE_FLOATS;
        workspace->buffers[buffer] = map_floats(n);
        __atomic_store_n(&workspace->n_floats[buffer], n, __ATOMIC_RELAXED);
    }
    return workspace->buffers[buffer];
}

float *moec_gemm_scratch(int64_t n) {
    return gemm_workspace(GEMM_BUFFER_SCRATCH, n);
}

uint64_t moec_gemm_bytes(void) {
    int64_t n_floats = 0;
    pthread_mutex_lock(&lock);
    for (const Workspace *workspace = workspaces; workspace; workspace = workspace->next) {
        for (int i = 0; i < GEMM_BUFFER_COUNT; i++)
            n_floats += __atomic_load_n(&workspace->n_floats[i], __ATOMIC_RELAXED);
    }
    pthread_mutex_unlock(&lock);
    return (uint64_t)n_floats * sizeof(float);
}

void moec_gemm_release(void) {
    pthread_mutex_lock(&lock);
    while (workspaces) {
        Workspace *next = workspaces->next;
        for (int i = 0; i < GEMM_BUFFER_COUNT; i++)
            unmap_floats(workspaces->buffers[i], workspaces->n_floats[i]);
        free(workspaces);
        workspaces = next;
    }
    __atomic_fetch_add(&n_releases, 1, __ATOMIC_RELEASE);
    pthread_mutex_unlock(&lock);
}
