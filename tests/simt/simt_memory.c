/* What the compiler calls at each access to memory of the text: whether it may be, and whether threads race. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/simt/simt_internal.h"

enum { WORD = 2, SEVERAL = -1 };

/* ---- Memory ----------------------------------------------------------------------------------------------------- */

static size_t n_words(size_t n_bytes) {
    return (n_bytes + WORD - 1) / WORD;
}

static size_t shared_bytes(void) {
    return (size_t)(simt.launch->module->shared_end - simt.launch->module->shared);
}

void simt_open_memory(void) {
    size_t n = simt.launch->n_buffers;
    simt.shadows = calloc(n + 1, sizeof *simt.shadows);
    for (size_t i = 0; i < n; i++)
        simt.shadows[i] = calloc(n_words(simt.launch->buffers[i].n_bytes) + 1, sizeof(SimtShadow));
    simt.shadows[n] = calloc(n_words(shared_bytes()) + 1, sizeof(SimtShadow));
}

void simt_close_memory(void) {
    for (size_t i = 0; i <= simt.launch->n_buffers; i++)
        free(simt.shadows[i]);
    free(simt.shadows);
}

void simt_fill_shared(void) {
    if (shared_bytes() > 0)
        memset(simt.launch->module->shared, 0xff, shared_bytes());
}

/* ---- Races ------------------------------------------------------------------------------------------------------ */

static SimtAccess access_now(void) {
    int thread = simt.current->thread;
    return (SimtAccess){.launch = simt.n_launches,
                        .block = (int32_t)simt.block,
                        .epoch = simt.epoch,
                        .warp_epoch = simt.warp_epochs[thread / 32],
                        .warp = (int16_t)(thread / 32),
                        .thread = (int16_t)thread};
}

/* Whether nothing orders the two: -1, which stands for several, differs from all. */
static bool is_concurrent(const SimtAccess *before, const SimtAccess *now) {
    if (before->launch != now->launch)
        return false;
    if (before->block != now->block)
        return true;
    if (before->epoch != now->epoch)
        return false;
    if (before->warp != now->warp)
        return true;
    return before->warp_epoch == now->warp_epoch && before->thread != now->thread;
}

/* Reads before, and one more. */
static void add_read(SimtAccess *read, const SimtAccess *now) {
    if (!is_concurrent(read, now)) {
        *read = *now;
        return;
    }
    if (read->block != now->block)
        read->block = SEVERAL;
    else if (read->warp != now->warp)
        read->warp = SEVERAL;
    else
        read->thread = SEVERAL;
}

/* "several blocks", "thread 3" */
static const char *who(const SimtAccess *access, char *text, size_t n_bytes) {
    if (access->block == SEVERAL)
        return "several blocks";
    if (access->warp == SEVERAL || access->thread == SEVERAL)
        return "several threads";
    snprintf(text, n_bytes, "thread %d%s", access->thread, access->block == simt.block ? "" : " of another block");
    return text;
}

static void check_word(SimtShadow *shadow, bool is_write, bool is_shared, const char *name, long long byte) {
    SimtAccess now = access_now();
    now.block = is_shared ? 0 : now.block;
    char text[64];
    if (is_concurrent(&shadow->written, &now))
        simt_fault("%s byte %lld of %s, which %s has written, and no barrier stands between",
                   is_write ? "writes" : "reads", byte, name, who(&shadow->written, text, sizeof text));
    if (is_write && is_concurrent(&shadow->read, &now))
        simt_fault("writes byte %lld of %s, which %s has read, and no barrier stands between", byte, name,
                   who(&shadow->read, text, sizeof text));
    if (is_write)
        shadow->written = now;
    else
        add_read(&shadow->read, &now);
}

/* ---- Accesses --------------------------------------------------------------------------------------------------- */

static bool contains(const char *start, size_t size, const char *address, size_t n_bytes) {
    return address >= start && size >= n_bytes && (size_t)(address - start) <= size - n_bytes;
}

/* Shared memory is another one in each block: these differ in their epochs. */
static void check_words(SimtShadow *shadow, const char *start, const char *address, size_t n_bytes, bool is_write,
                        const char *name) {
    bool is_shared = start == simt.launch->module->shared;
    size_t first = (size_t)(address - start);
    for (size_t byte = first / WORD * WORD; byte < first + n_bytes; byte += WORD)
        check_word(&shadow[byte / WORD], is_write, is_shared, name, (long long)byte);
}

static bool is_own(const char *address) {
    const char *stack = simt.stacks + (size_t)simt.current->thread * SIMT_STACK_BYTES;
    return address >= stack && address < stack + SIMT_STACK_BYTES;
}

static void check(const char *address, size_t n_bytes, bool is_write) {
    const SimtLaunch *launch = simt.launch;
    const SimtModule *module = launch->module;
    if (is_own(address))
        return;
    if ((uintptr_t)address % n_bytes != 0)
        simt_fault("%s %zu bytes at an address that is no multiple of that", is_write ? "writes" : "reads", n_bytes);
    if (shared_bytes() > 0 && contains(module->shared, shared_bytes(), address, n_bytes)) {
        check_words(simt.shadows[launch->n_buffers], module->shared, address, n_bytes, is_write, "shared memory");
        return;
    }
    if (!is_write && address >= module->constants && address + n_bytes <= module->constants_end)
        return;
    for (size_t i = 0; i < launch->n_buffers; i++) {
        const SimtBuffer *buffer = &launch->buffers[i];
        if (!contains(buffer->data, buffer->n_bytes, address, n_bytes))
            continue;
        if (is_write && buffer->is_read_only)
            simt_fault("writes to %s, which is only read", buffer->name);
        check_words(simt.shadows[i], buffer->data, address, n_bytes, is_write, buffer->name);
        return;
    }
    for (size_t i = 0; i < launch->n_buffers; i++) { /* near which it is says more than the address */
        const SimtBuffer *buffer = &launch->buffers[i];
        const char *start = buffer->data, *end = start + buffer->n_bytes;
        if (address + n_bytes > start && address - 4096 < end)
            simt_fault("%s %zu bytes at byte %lld of %s, which has %zu", is_write ? "writes" : "reads", n_bytes,
                       (long long)(address - start), buffer->name, buffer->n_bytes);
    }
    simt_fault("%s %zu bytes at %p, which is in no buffer", is_write ? "writes" : "reads", n_bytes,
               (const void *)address);
}

void *simt_aligned(const void *address) {
    if ((uintptr_t)address % 16 != 0)
        simt_fault("reads or writes 16 bytes at an address that is no multiple of that");
    return (void *)(uintptr_t)address;
}

/* The functions that -fsanitize=thread has the compiler call. */
#define ACCESSES(X) X(1) X(2) X(4) X(8) X(16)

#define X(n)                                                                                                           \
    void __tsan_read##n(void *address);                                                                                \
    void __tsan_write##n(void *address);                                                                               \
    void __tsan_unaligned_read##n(void *address);                                                                      \
    void __tsan_unaligned_write##n(void *address);                                                                     \
    void __tsan_read##n(void *address) {                                                                               \
        check(address, n, false);                                                                                      \
    }                                                                                                                  \
    void __tsan_write##n(void *address) {                                                                              \
        check(address, n, true);                                                                                       \
    }                                                                                                                  \
    void __tsan_unaligned_read##n(void *address) {                                                                     \
        check(address, n, false);                                                                                      \
    }                                                                                                                  \
    void __tsan_unaligned_write##n(void *address) {                                                                    \
        check(address, n, true);                                                                                       \
    }
ACCESSES(X)
#undef X

/* NOLINTBEGIN(bugprone-reserved-identifier): the compiler names them. */
void __tsan_init(void);
void __tsan_func_entry(void *caller);
void __tsan_func_exit(void);
void __tsan_read_range(void *address, size_t n_bytes);
void __tsan_write_range(void *address, size_t n_bytes);

void __tsan_init(void) {}

void __tsan_func_entry(void *caller) {
    (void)caller;
}

void __tsan_func_exit(void) {}

void __tsan_read_range(void *address, size_t n_bytes) {
    for (size_t i = 0; i < n_bytes; i += sizeof(float))
        check((char *)address + i, sizeof(float), false);
}

void __tsan_write_range(void *address, size_t n_bytes) {
    for (size_t i = 0; i < n_bytes; i += sizeof(float))
        check((char *)address + i, sizeof(float), true);
}
/* NOLINTEND(bugprone-reserved-identifier) */
