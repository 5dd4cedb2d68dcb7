/* What the compiler calls at each access to memory of the text: whether it may be, and whether threads race. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/simt/simt_internal.h"

enum { WORD = 2, SEVERAL = -1, N_CHUNK_WORDS = SIMT_CHUNK / WORD };

/* ---- Memory ----------------------------------------------------------------------------------------------------- */

static size_t n_words(size_t n_bytes) {
    return (n_bytes + WORD - 1) / WORD;
}

static size_t round_up(size_t n, size_t alignment) {
    return (n + alignment - 1) / alignment * alignment;
}

/* What the launch asks for comes first, since a text with many kernels declares more than addresses in descriptors
   reach; both start at multiples of 1024, as addresses on a GPU would. */
static void lay_out_shared(void) {
    const SimtModule *module = simt.launch->module;
    size_t n_dynamic = round_up(simt.launch->shared_bytes, SIMT_SHARED_ALIGNMENT);
    size_t before = (uintptr_t)module->shared % SIMT_SHARED_ALIGNMENT;
    size_t n_declared = (size_t)(module->shared_end - module->shared);
    simt.declared_offset = n_dynamic + before;
    simt.shared_bytes = simt.declared_offset + n_declared;
    simt.dynamic = n_dynamic > 0 ? aligned_alloc(SIMT_SHARED_ALIGNMENT, n_dynamic) : NULL;
}

void simt_open_memory(void) {
    size_t n = simt.launch->n_buffers;
    lay_out_shared();
    simt.chunks = NULL;
    simt.lists_readers = false;
    simt.shadows = calloc(n + 1, sizeof *simt.shadows);
    for (size_t i = 0; i < n; i++)
        simt.shadows[i] = calloc(n_words(simt.launch->buffers[i].n_bytes) + 1, sizeof(SimtShadow));
    simt.shadows[n] = calloc(n_words(simt.shared_bytes) + N_CHUNK_WORDS, sizeof(SimtShadow));
}

static void free_shadows(SimtShadow *shadows, size_t n_bytes) {
    for (size_t i = 0; i < n_words(n_bytes) && simt.lists_readers; i++)
        free(shadows[i].readers);
    free(shadows);
}

void simt_close_memory(void) {
    size_t n = simt.launch->n_buffers;
    for (size_t i = 0; i < n; i++)
        free_shadows(simt.shadows[i], simt.launch->buffers[i].n_bytes);
    free_shadows(simt.shadows[n], simt.shared_bytes);
    free(simt.shadows);
    free(simt.chunks);
    free(simt.dynamic);
}

void simt_fill_shared(void) {
    const SimtModule *module = simt.launch->module;
    if (module->shared_end > module->shared)
        memset(module->shared, 0xff, (size_t)(module->shared_end - module->shared));
    if (simt.dynamic)
        memset(simt.dynamic, 0xff, simt.launch->shared_bytes);
    if (simt.chunks)
        memset(simt.chunks, 0, round_up(simt.shared_bytes, SIMT_CHUNK) / SIMT_CHUNK * sizeof *simt.chunks);
}

void *simt_dynamic_shared(void) {
    if (!simt.dynamic)
        simt_fault("the launch gives no shared memory");
    return simt.dynamic;
}

void simt_use_chunks(void) {
    if (!simt.chunks)
        simt.chunks = calloc(round_up(simt.shared_bytes, SIMT_CHUNK) / SIMT_CHUNK + 1, sizeof *simt.chunks);
}

static bool contains(const char *start, size_t size, const char *address, size_t n_bytes) {
    return address >= start && size >= n_bytes && (size_t)(address - start) <= size - n_bytes;
}

size_t simt_shared_offset(const void *address, size_t n_bytes) {
    const SimtModule *module = simt.launch->module;
    const char *at = address;
    if (simt.dynamic && contains(simt.dynamic, simt.launch->shared_bytes, at, n_bytes))
        return (size_t)(at - simt.dynamic);
    if (module->shared_end > module->shared &&
        contains(module->shared, (size_t)(module->shared_end - module->shared), at, n_bytes))
        return simt.declared_offset + (size_t)(at - module->shared);
    return SIZE_MAX;
}

char *simt_shared_at(size_t offset, size_t n_bytes) {
    if (offset + n_bytes <= simt.launch->shared_bytes)
        return simt.dynamic + offset;
    bool is_declared = offset >= simt.declared_offset && offset + n_bytes <= simt.shared_bytes;
    return is_declared ? simt.launch->module->shared + (offset - simt.declared_offset) : NULL;
}

/* ---- Races ------------------------------------------------------------------------------------------------------ */

SimtAccess simt_access_now(void) {
    int thread = simt.current->thread;
    return (SimtAccess){.launch = simt.n_launches,
                        .block = (int32_t)simt.block,
                        .epoch = simt.epoch,
                        .clock = simt_clock_now(),
                        .warp = (int16_t)(thread / 32),
                        .thread = (int16_t)thread};
}

static bool knows(int thread, int agent, uint32_t clock) {
    return simt_clocks_of(thread).known[agent] >= clock;
}

/* Whether the thread knows of all of a warp that the access, of several, may have been by. */
static bool knows_warp(int thread, const SimtAccess *access) {
    for (int i = 0; i < 32 && access->warp * 32 + i < simt.launch->n_threads; i++) {
        if (!knows(thread, access->warp * 32 + i, access->clock))
            return false;
    }
    return access->warp != SEVERAL;
}

/* Whether nothing orders the two: -1, which stands for several, differs from all. */
static bool is_concurrent(const SimtAccess *before, const SimtAccess *now) {
    if (before->launch != now->launch)
        return false;
    if (before->block != now->block)
        return true;
    if (before->epoch != now->epoch || before->thread == now->thread)
        return false;
    if (simt.keeps_clocks)
        return before->thread == SEVERAL ? !knows_warp(now->thread, before)
                                         : !knows(now->thread, before->thread, before->clock);
    return before->warp != now->warp || before->clock == now->clock;
}

bool simt_knows_access(const SimtAccess *access) {
    SimtAccess now = simt_access_now();
    return !is_concurrent(access, &now);
}

static bool is_same_epoch(const SimtAccess *before, const SimtAccess *now) {
    return before->launch == now->launch && before->block == now->block && before->epoch == now->epoch;
}

/* Each thread's clock, where several have read and clocks are kept: from those that are known as one. */
static void list_readers(SimtShadow *shadow, const SimtAccess *now) {
    size_t n_threads = (size_t)simt.launch->n_threads;
    const SimtAccess *read = &shadow->read;
    simt.lists_readers = true;
    if (!shadow->readers)
        shadow->readers = malloc(n_threads * sizeof(uint32_t));
    for (size_t i = 0; i < n_threads; i++) {
        bool may_have =
            read->thread == (int)i || (read->thread == SEVERAL && (read->warp == SEVERAL || read->warp == (int)i / 32));
        shadow->readers[i] = may_have ? read->clock : 0;
    }
    shadow->read = *now;
    shadow->read.thread = shadow->read.warp = SEVERAL;
}

/* Reads before, and one more. */
static void add_read(SimtShadow *shadow, const SimtAccess *now) {
    SimtAccess *read = &shadow->read;
    bool are_listed = simt.keeps_clocks && shadow->readers && is_same_epoch(read, now) && read->thread == SEVERAL;
    if (!are_listed && !is_concurrent(read, now)) {
        free(shadow->readers);
        shadow->readers = NULL;
        *read = *now;
        return;
    }
    if (read->block != now->block)
        read->block = SEVERAL;
    else if (simt.keeps_clocks) {
        if (!are_listed)
            list_readers(shadow, now);
        shadow->readers[now->thread] = now->clock;
    } else if (read->warp != now->warp)
        read->warp = SEVERAL;
    else
        read->thread = SEVERAL;
}

/* Whether a read is not known of. */
static bool was_read(const SimtShadow *shadow, const SimtAccess *now, const uint32_t *known) {
    if (!simt.keeps_clocks || !shadow->readers || !is_same_epoch(&shadow->read, now) || shadow->read.thread != SEVERAL)
        return is_concurrent(&shadow->read, now);
    for (int i = 0; i < simt.launch->n_threads; i++) {
        if (i != now->thread && shadow->readers[i] > known[i])
            return true;
    }
    return false;
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
    SimtAccess now = simt_access_now();
    now.block = is_shared ? 0 : now.block;
    char text[64];
    if (is_concurrent(&shadow->written, &now))
        simt_fault("%s byte %lld of %s, which %s has written, and no barrier stands between",
                   is_write ? "writes" : "reads", byte, name, who(&shadow->written, text, sizeof text));
    const uint32_t *known = simt.keeps_clocks ? simt_clocks_of(now.thread).known : NULL;
    if (is_write && was_read(shadow, &now, known))
        simt_fault("writes byte %lld of %s, which %s has read, and no barrier stands between", byte, name,
                   who(&shadow->read, text, sizeof text));
    if (is_write)
        shadow->written = now;
    else
        add_read(shadow, &now);
}

/* ---- Asynchronous accesses -------------------------------------------------------------------------------------- */

/* Of what is under way, or has not been waited for. `known`: by whoever accesses the chunk. */
static void check_chunk(const SimtChunk *chunk, size_t offset, const uint32_t *known, bool is_write, const char *does) {
    if (chunk->copier > 0)
        simt_fault("%s byte %zu of shared memory, which moec_copy_async16 of line %d is still to bring to thread %d",
                   does, offset, chunk->copy_line, chunk->copier - 1);
    if (chunk->is_coming)
        simt_fault("%s byte %zu of shared memory, which moec_tma_load of line %d is still to bring", does, offset,
                   chunk->load_line);
    if (known && chunk->loader > 0 && known[chunk->loader] < chunk->load_clock)
        simt_fault("%s byte %zu of shared memory, which came for a barrier by line %d, and has not waited for it", does,
                   offset, chunk->load_line);
    if (!is_write)
        return;
    for (int i = 0; i < SIMT_MAX_GROUPS && known; i++) {
        if (known[simt_group_agent(i)] < chunk->product_clocks[i])
            simt_fault(
                "%s byte %zu of shared memory, which moec_wgmma of line %d reads, and nothing says that it is done",
                does, offset, chunk->product_line);
    }
    if (known && chunk->storer > 0 && known[chunk->storer] < chunk->store_clock)
        simt_fault(
            "%s byte %zu of shared memory, which moec_tma_store of line %d reads, and nothing says that it is done",
            does, offset, chunk->store_line);
}

static void check_chunks(size_t offset, size_t n_bytes, bool is_write) {
    const uint32_t *known = simt.keeps_clocks ? simt_clocks_of(simt.current->thread).known : NULL;
    const char *does = is_write ? "writes" : "reads";
    for (size_t i = offset / SIMT_CHUNK; i <= (offset + n_bytes - 1) / SIMT_CHUNK; i++) {
        SimtChunk *chunk = &simt.chunks[i];
        check_chunk(chunk, offset, known, is_write, does);
        for (size_t half = 0; half < 2; half++) {
            size_t start = i * SIMT_CHUNK + half * sizeof(uint64_t);
            if ((chunk->barriers >> half & 1) && offset < start + sizeof(uint64_t) && offset + n_bytes > start)
                simt_fault("%s byte %zu of shared memory, which is a barrier", does, offset);
        }
        if (is_write)
            chunk->loader = 0;
    }
}

/* Whether the word was written in this block, so that someone must know of it. */
static bool is_of_block(const SimtAccess *access) {
    return access->launch == simt.n_launches && access->epoch >= simt.first_epoch;
}

/* What threads have written, the asynchronous proxy may not see yet. */
static void check_written(const SimtAccess *written, size_t byte, const SimtClocks *clocks, const char *what,
                          int line) {
    char text[64];
    if (!is_of_block(written))
        return;
    who(written, text, sizeof text);
    if (written->epoch == simt.epoch && clocks->known[written->thread] < written->clock)
        simt_fault("%s of line %d: thread %d has written byte %zu of shared memory, and no barrier stands between",
                   what, line, written->thread, byte);
    if (clocks->fenced[written->thread] < written->clock)
        simt_fault(
            "%s of line %d: thread %d has written byte %zu of shared memory, and no moec_fence_async stands between",
            what, line, written->thread, byte);
}

void simt_check_async_write(size_t offset, const SimtClocks *clocks, const char *what, int line) {
    SimtChunk *chunk = &simt.chunks[offset / SIMT_CHUNK];
    SimtShadow *shadow = &simt.shadows[simt.launch->n_buffers][offset / WORD];
    SimtAccess now = simt_access_now();
    now.block = 0;
    if (chunk->barriers)
        simt_fault("%s of line %d overwrites a barrier at byte %zu of shared memory", what, line, offset);
    check_chunk(chunk, offset, clocks->known, true, "overwrites");
    for (size_t i = 0; i < N_CHUNK_WORDS; i++, shadow++) {
        check_written(&shadow->written, offset, clocks, what, line);
        if (was_read(shadow, &now, clocks->known))
            simt_fault(
                "%s of line %d overwrites byte %zu of shared memory, which is read by a thread, and nothing says "
                "that it is done",
                what, line, offset);
        shadow->written = shadow->read = (SimtAccess){.launch = 0};
    }
}

void simt_check_async_read(size_t offset, const SimtClocks *clocks, const char *what, int line) {
    const SimtChunk *chunk = &simt.chunks[offset / SIMT_CHUNK];
    const SimtShadow *shadow = &simt.shadows[simt.launch->n_buffers][offset / WORD];
    if (chunk->barriers)
        simt_fault("%s of line %d reads a barrier at byte %zu of shared memory", what, line, offset);
    check_chunk(chunk, offset, clocks->known, false, "reads");
    if (chunk->loader > 0 && chunk->is_generic && clocks->fenced[chunk->loader] < chunk->load_clock)
        simt_fault(
            "%s of line %d: moec_copy_async16 has brought byte %zu of shared memory, and no moec_fence_async stands "
            "between",
            what, line, offset);
    for (size_t i = 0; i < N_CHUNK_WORDS; i++)
        check_written(&shadow[i].written, offset, clocks, what, line);
}

void simt_set_written(size_t offset) {
    SimtShadow *shadow = &simt.shadows[simt.launch->n_buffers][offset / WORD];
    SimtAccess now = simt_access_now();
    now.block = 0;
    for (size_t i = 0; i < N_CHUNK_WORDS; i++)
        shadow[i].written = now;
}

void simt_set_unwritten(size_t offset) {
    SimtShadow *shadow = &simt.shadows[simt.launch->n_buffers][offset / WORD];
    for (size_t i = 0; i < N_CHUNK_WORDS; i++)
        shadow[i].written = shadow[i].read = (SimtAccess){.launch = 0};
}

/* ---- Accesses --------------------------------------------------------------------------------------------------- */

/* Shared memory is another one in each block: these differ in their epochs. */
static void check_words(SimtShadow *shadow, size_t first, size_t n_bytes, bool is_write, const char *name) {
    bool is_shared = shadow == simt.shadows[simt.launch->n_buffers];
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
    if (is_own(address)) {
        if (simt.current->n_fences > 0)
            simt_touch_stack(address, n_bytes, is_write);
        return;
    }
    if ((uintptr_t)address % n_bytes != 0)
        simt_fault("%s %zu bytes at an address that is no multiple of that", is_write ? "writes" : "reads", n_bytes);
    size_t offset = simt_shared_offset(address, n_bytes);
    if (offset != SIZE_MAX) {
        if (simt.chunks)
            check_chunks(offset, n_bytes, is_write);
        check_words(simt.shadows[launch->n_buffers], offset, n_bytes, is_write, "shared memory");
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
        check_words(simt.shadows[i], (size_t)(address - (const char *)buffer->data), n_bytes, is_write, buffer->name);
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

void simt_check(const void *address, size_t n_bytes, bool is_write) {
    for (size_t i = 0; i < n_bytes && simt.is_checked; i += WORD)
        check((const char *)address + i, WORD, is_write);
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
