/* Copies of 16 bytes by threads (cp.async): they come when their thread waits for them, or for a barrier that does. */
#include <stdlib.h>
#include <string.h>

#include "tests/simt/simt_internal.h"

static void poison(char *at) {
    for (int i = 0; i < SIMT_CHUNK / 2; i++)
        ((uint16_t *)(void *)at)[i] = SIMT_POISON;
}

void simt_copy_async16(void *shared, const void *global, int n_bytes, int line) {
    SimtFiber *own = simt.current;
    size_t offset = simt_shared_offset(shared, SIMT_CHUNK);
    if (offset == SIZE_MAX || offset % SIMT_CHUNK != 0)
        simt_fault("moec_copy_async16 of line %d: to no multiple of 16 bytes in shared memory", line);
    if (n_bytes < 0 || n_bytes > SIMT_CHUNK)
        simt_fault("moec_copy_async16 of line %d: of %d bytes", line, n_bytes);
    if (n_bytes > 0 && ((uintptr_t)global % SIMT_CHUNK != 0 || simt_shared_offset(global, 1) != SIZE_MAX))
        simt_fault("moec_copy_async16 of line %d: from no multiple of 16 bytes in device memory", line);
    simt_use_chunks();
    simt_check(shared, SIMT_CHUNK, true);
    simt_check(global, (size_t)n_bytes, false);
    own->copies = simt_grow(own->copies, own->n_copies, &own->copies_capacity, sizeof *own->copies);
    own->copies[own->n_copies++] = (SimtCopy){.offset = offset,
                                              .from = global,
                                              .n_bytes = n_bytes,
                                              .line = line,
                                              .group = own->copy_group,
                                              .serial = ++own->copy_serial};
    simt.chunks[offset / SIMT_CHUNK].copier = (int16_t)(own->thread + 1);
    simt.chunks[offset / SIMT_CHUNK].copy_line = line;
    poison(shared);
}

void simt_copy_async_commit(int line) {
    (void)line;
    simt.current->copy_group++;
}

static void land_copy(const SimtCopy *copy, const SimtBarrier *barrier) {
    SimtChunk *chunk = &simt.chunks[copy->offset / SIMT_CHUNK];
    char *to = simt_shared_at(copy->offset, SIMT_CHUNK);
    memset(to, 0, SIMT_CHUNK);
    if (copy->n_bytes > 0)
        memcpy(to, copy->from, (size_t)copy->n_bytes);
    chunk->copier = 0;
    if (simt.is_checked && !barrier)
        simt_set_written(copy->offset);
    if (!barrier || !simt.keeps_clocks)
        return;
    simt_set_unwritten(copy->offset);
    chunk->loader = simt_barrier_agent(barrier->number);
    chunk->load_clock = barrier->phase + 1;
    chunk->load_line = copy->line;
    chunk->is_generic = true;
}

/* Those that are left move to the front. */
void simt_land_copies(SimtFiber *fiber, uint32_t serial, const SimtBarrier *barrier) {
    size_t n_left = 0;
    for (size_t i = 0; i < fiber->n_copies; i++) {
        if (fiber->copies[i].serial <= serial)
            land_copy(&fiber->copies[i], barrier);
        else
            fiber->copies[n_left++] = fiber->copies[i];
    }
    fiber->n_copies = n_left;
}

void simt_copy_async_wait(int n, int line) {
    SimtFiber *own = simt.current;
    uint32_t serial = 0;
    if (n < 0)
        simt_fault("MOEC_COPY_ASYNC_WAIT of line %d: for all but %d", line, n);
    for (size_t i = 0; i < own->n_copies; i++) {
        if ((int64_t)own->copies[i].group < (int64_t)own->copy_group - n)
            serial = own->copies[i].serial;
    }
    simt_land_copies(own, serial, NULL);
}

void simt_copy_async_arrive(uint64_t *address, int line) {
    SimtBarrier *barrier = simt_find_barrier(address, "moec_copy_async_arrive", line);
    simt_add_transfer(&(SimtTransfer){
        .barrier = barrier, .thread = simt.current->thread, .line = line, .serial = simt.current->copy_serial});
}

void simt_end_copies(SimtFiber *fiber) {
    free(fiber->copies);
    fiber->copies = NULL;
    fiber->n_copies = fiber->copies_capacity = 0;
}
