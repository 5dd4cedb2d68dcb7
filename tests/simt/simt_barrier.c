/* Barriers in shared memory with their phases, named barriers, registers; and what comes for barriers on its own. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/simt/simt_internal.h"

enum { MOST_ARRIVALS = (1 << 20) - 1, MOST_BYTES = (1 << 20) - 1 };

/* ---- Blocks ------------------------------------------------------------------------------------------------------ */

void simt_begin_barriers(void) {
    for (int i = 0; i < simt.n_barriers; i++) {
        simt_clocks_free(&simt.barriers[i].current);
        simt_clocks_free(&simt.barriers[i].ended);
    }
    for (size_t i = 0; i < simt.n_transfers; i++)
        simt_free_box(simt.transfers[i].box);
    for (int i = 0; i < SIMT_NAMED_BARRIERS; i++) {
        simt_clocks_free(&simt.named[i].clocks);
        simt.named[i] = (SimtNamed){.n_threads = 0};
    }
    simt.n_barriers = simt.n_storers = simt.n_maps = 0;
    simt.n_transfers = 0;
}

void simt_close_barriers(void) {
    simt_begin_barriers();
    free(simt.transfers);
    simt.transfers = NULL;
    simt.transfers_capacity = 0;
}

/* ---- Beginning --------------------------------------------------------------------------------------------------- */

static SimtBarrier *barrier_at(size_t offset) {
    for (int i = 0; i < simt.n_barriers; i++) {
        if (simt.barriers[i].offset == offset)
            return &simt.barriers[i];
    }
    return NULL;
}

static size_t offset_of(const uint64_t *address, const char *what, int line) {
    size_t offset = simt_shared_offset(address, sizeof *address);
    if (offset == SIZE_MAX || offset % sizeof *address != 0)
        simt_fault("%s of line %d: the barrier is not in shared memory at a multiple of 8 bytes", what, line);
    return offset;
}

void simt_barrier_init(uint64_t *address, int n_arrivals, int line) {
    size_t offset = offset_of(address, "moec_barrier_init", line);
    simt_keep_clocks();
    simt_use_chunks();
    if (n_arrivals < 1 || n_arrivals > MOST_ARRIVALS)
        simt_fault("moec_barrier_init of line %d: there are no barriers of %d arrivals", line, n_arrivals);
    if (barrier_at(offset))
        simt_fault("moec_barrier_init of line %d: a barrier of line %d is there, at byte %zu of shared memory", line,
                   barrier_at(offset)->line, offset);
    if (simt.n_barriers == SIMT_MAX_BARRIERS)
        simt_fault("moec_barrier_init of line %d: the simulator has no more than %d barriers", line, SIMT_MAX_BARRIERS);
    simt_check(address, sizeof *address, true);
    SimtAccess now = simt_access_now();
    simt.chunks[offset / SIMT_CHUNK].barriers |= (uint8_t)(1u << offset / sizeof *address % 2);
    simt.barriers[simt.n_barriers] = (SimtBarrier){.offset = offset,
                                                   .number = simt.n_barriers,
                                                   .n_arrivals = n_arrivals,
                                                   .n_missing = n_arrivals,
                                                   .line = line,
                                                   .initializer = now.thread,
                                                   .init_clock = now.clock,
                                                   .init_epoch = now.epoch,
                                                   .current = simt_clocks_new(),
                                                   .ended = simt_clocks_new()};
    simt.n_barriers++;
}

void simt_barrier_init_fence(int line) {
    (void)line;
    for (int i = 0; i < simt.n_barriers; i++) {
        if (simt.barriers[i].initializer == simt.current->thread)
            simt.barriers[i].is_fenced = true;
    }
}

SimtBarrier *simt_find_barrier(const uint64_t *address, const char *what, int line) {
    size_t offset = offset_of(address, what, line);
    SimtBarrier *barrier = barrier_at(offset);
    if (!barrier)
        simt_fault("%s of line %d: there is no barrier at byte %zu of shared memory", what, line, offset);
    const SimtAccess begun = {.launch = simt.n_launches,
                              .epoch = barrier->init_epoch,
                              .clock = barrier->init_clock,
                              .block = (int32_t)simt.block,
                              .warp = (int16_t)(barrier->initializer / 32),
                              .thread = barrier->initializer};
    if (simt.is_checked && !simt_knows_access(&begun))
        simt_fault("%s of line %d: thread %d has begun the barrier, and no barrier stands between", what, line,
                   barrier->initializer);
    if (!barrier->is_fenced && barrier->initializer != simt.current->thread)
        simt_fault("%s of line %d: no moec_barrier_init_fence follows the moec_barrier_init of line %d", what, line,
                   barrier->line);
    return barrier;
}

void simt_barrier_describe(const SimtBarrier *barrier, char *text, size_t n_bytes) {
    snprintf(
        text, n_bytes,
        "phase %u to end of the barrier at byte %zu of shared memory, which misses %d of %d arrivals and %lld bytes",
        barrier->phase, barrier->offset, barrier->n_missing, barrier->n_arrivals, (long long)barrier->n_bytes);
}

/* ---- Phases ------------------------------------------------------------------------------------------------------ */

/* Ends the phase if nothing is missing. */
static void try_end(SimtBarrier *barrier) {
    if (barrier->n_missing > 0 || barrier->n_bytes != 0)
        return;
    barrier->phase++;
    barrier->n_missing = barrier->n_arrivals;
    if (simt.keeps_clocks)
        barrier->current.known[simt_barrier_agent(barrier->number)] = barrier->phase;
    simt_clocks_copy(&barrier->ended, &barrier->current);
    barrier->n_waiting = 0;
    for (int i = 0; i < simt.launch->n_threads; i++) {
        SimtFiber *fiber = &simt.fibers[i];
        if (fiber->state == SIMT_WAITING && fiber->meeting == SIMT_PHASE && fiber->barrier == barrier)
            simt_make_runnable(fiber);
    }
}

/* Of an arrival, by whom ever. */
void simt_barrier_count(SimtBarrier *barrier) {
    if (barrier->n_missing == 0) {
        simt_note("one more arrives at the barrier at byte %zu of shared memory than the %d that it counts",
                  barrier->offset, barrier->n_arrivals);
        return;
    }
    barrier->n_missing--;
    try_end(barrier);
}

static void arrive(SimtBarrier *barrier) {
    simt_order_release(&barrier->current);
    simt_barrier_count(barrier);
    if (simt.error[0] != '\0')
        simt_leave();
}

void simt_barrier_arrive(uint64_t *address, int line) {
    arrive(simt_find_barrier(address, "moec_barrier_arrive", line));
}

void simt_barrier_expect(uint64_t *address, int n_bytes, int line) {
    SimtBarrier *barrier = simt_find_barrier(address, "moec_barrier_expect", line);
    if (n_bytes < 0 || barrier->n_bytes + n_bytes > MOST_BYTES)
        simt_fault("moec_barrier_expect of line %d: a phase has no %lld bytes", line,
                   (long long)barrier->n_bytes + n_bytes);
    barrier->n_bytes += n_bytes;
    arrive(barrier);
}

void simt_barrier_wait(uint64_t *address, int parity, int line) {
    SimtBarrier *barrier = simt_find_barrier(address, "moec_barrier_wait", line);
    if (parity != 0 && parity != 1)
        simt_fault("moec_barrier_wait of line %d: %d is no parity", line, parity);
    while ((barrier->phase & 1) == (uint32_t)parity) {
        simt_wait_at(SIMT_PHASE, line, 0);
        simt.current->barrier = barrier;
        barrier->n_waiting++;
        simt_leave();
    }
    simt_order_acquire(simt.current->thread, &barrier->ended);
}

void simt_barrier_bring(SimtBarrier *barrier, int64_t n_bytes, int line) {
    barrier->n_bytes -= n_bytes;
    if (barrier->n_bytes < 0 && barrier->n_missing == 0)
        simt_note(
            "moec_tma_load of line %d brings %lld bytes more than the barrier at byte %zu of shared memory expects",
            line, -(long long)barrier->n_bytes, barrier->offset);
    else
        try_end(barrier);
}

/* ---- What comes -------------------------------------------------------------------------------------------------- */

void simt_add_transfer(const SimtTransfer *transfer) {
    simt.transfers = simt_grow(simt.transfers, simt.n_transfers, &simt.transfers_capacity, sizeof *simt.transfers);
    simt.transfers[simt.n_transfers++] = *transfer;
}

static void land(const SimtTransfer *transfer) {
    SimtBarrier *barrier = transfer->barrier;
    simt.current = &simt.fibers[transfer->thread];
    if (transfer->box && barrier->phase != transfer->phase) {
        simt_note(
            "the phase of the barrier at byte %zu of shared memory has ended before moec_tma_load of line %d brought "
            "its bytes: too few were expected",
            barrier->offset, transfer->line);
        return;
    }
    if (transfer->box) {
        int64_t n_bytes = simt_land_box(transfer->box);
        simt_barrier_bring(barrier, n_bytes, transfer->line);
    } else {
        simt_land_copies(simt.current, transfer->serial, barrier);
        simt_barrier_count(barrier);
    }
}

/* A thread's arrivals come in their order, since each waits for all copies before. */
static size_t first_arrival(size_t chosen) {
    for (size_t i = 0; i < chosen && !simt.transfers[chosen].box; i++) {
        if (!simt.transfers[i].box && simt.transfers[i].thread == simt.transfers[chosen].thread)
            return i;
    }
    return chosen;
}

/* One of those whose barriers are waited for. */
bool simt_land(void) {
    size_t n = 0, *all = malloc((simt.n_transfers + 1) * sizeof *all);
    for (size_t i = 0; i < simt.n_transfers; i++) {
        if (simt.transfers[i].barrier->n_waiting > 0)
            all[n++] = i;
    }
    size_t chosen = n > 0 ? first_arrival(all[simt_draw(n)]) : 0;
    free(all);
    if (n == 0)
        return false;
    SimtTransfer transfer = simt.transfers[chosen];
    simt.n_transfers--;
    memmove(&simt.transfers[chosen], &simt.transfers[chosen + 1], (simt.n_transfers - chosen) * sizeof transfer);
    land(&transfer);
    simt_free_box(transfer.box);
    return true;
}

/* ---- Barriers of warps ------------------------------------------------------------------------------------------- */

void simt_named_barrier(int id, int n_threads, int line) {
    if (id < 1 || id >= SIMT_NAMED_BARRIERS)
        simt_fault("moec_named_barrier of line %d: barriers are 1 to %d, not %d", line, SIMT_NAMED_BARRIERS - 1, id);
    if (n_threads < 32 || n_threads % 32 != 0 || n_threads > simt.launch->n_threads)
        simt_fault("moec_named_barrier of line %d: no warps of the block have %d threads", line, n_threads);
    SimtNamed *barrier = &simt.named[id];
    simt_keep_clocks();
    if (!barrier->clocks.known)
        barrier->clocks = simt_clocks_new();
    if (barrier->n_missing == 0)
        barrier->n_threads = barrier->n_missing = n_threads;
    if (barrier->n_threads != n_threads)
        simt_fault("moec_named_barrier of line %d: others wait there for %d threads, not %d", line, barrier->n_threads,
                   n_threads);
    simt_order_release(&barrier->clocks);
    simt_wait_at(SIMT_NAMED_BARRIER, line, 0);
    simt.current->argument = id;
    if (--barrier->n_missing == 0) {
        for (int i = 0; i < simt.launch->n_threads; i++) {
            SimtFiber *fiber = &simt.fibers[i];
            if (fiber->state != SIMT_WAITING || fiber->meeting != SIMT_NAMED_BARRIER || fiber->argument != id)
                continue;
            simt_order_acquire(i, &barrier->clocks);
            simt_make_runnable(fiber);
        }
    }
    simt_leave();
}

/* ---- Registers --------------------------------------------------------------------------------------------------- */

void simt_set_registers(int n, bool is_more, int line) {
    enum { REGISTERS = 65536 };
    const char *what = is_more ? "MOEC_REGISTERS_INC" : "MOEC_REGISTERS_DEC";
    int before = simt.current->n_registers, n_all = 0;
    if (n < 24 || n > 256 || n % 8 != 0)
        simt_fault("%s of line %d: %d is no multiple of 8 from 24 to 256", what, line, n);
    if (before > 0 && (is_more ? n < before : n > before))
        simt_fault("%s of line %d: from %d to %d", what, line, before, n);
    simt.current->argument = n;
    if (!simt_meet_in_warpgroup(SIMT_REGISTERS, line))
        return;
    SimtFiber *group = simt.fibers + simt.current->thread / SIMT_WARPGROUP * SIMT_WARPGROUP;
    for (int i = 0; i < SIMT_WARPGROUP; i++)
        group[i].n_registers = n;
    for (int i = 0; i < simt.launch->n_threads; i++)
        n_all += simt.fibers[i].n_registers;
    if (n_all > REGISTERS)
        simt_fault("%s of line %d: the block's warpgroups then have %d registers, and a processor has %d", what, line,
                   n_all, REGISTERS);
    simt_release_warpgroup();
}
