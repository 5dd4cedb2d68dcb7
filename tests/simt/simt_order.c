/* Who knows of whose accesses: vector clocks. A thread's own clock goes up whenever others may learn what it knows.

   Until something asynchronous is done, threads meet at barriers of the block and of warps only, and a clock for each
   warp says as much. */
#include <stdlib.h>
#include <string.h>

#include "tests/simt/simt_internal.h"

static size_t n_clocks(void) {
    return (size_t)simt.launch->n_threads + SIMT_MAX_BARRIERS + SIMT_MAX_GROUPS + SIMT_MAX_STORERS;
}

int16_t simt_barrier_agent(int number) {
    return (int16_t)(simt.launch->n_threads + number);
}

int16_t simt_group_agent(int group) {
    return (int16_t)(simt.launch->n_threads + SIMT_MAX_BARRIERS + group);
}

int16_t simt_storer_agent(int number) {
    return (int16_t)(simt.launch->n_threads + SIMT_MAX_BARRIERS + SIMT_MAX_GROUPS + number);
}

SimtClocks simt_clocks_new(void) {
    if (!simt.is_checked)
        return (SimtClocks){NULL, NULL};
    return (SimtClocks){calloc(n_clocks(), sizeof(uint32_t)), calloc(n_clocks(), sizeof(uint32_t))};
}

void simt_clocks_free(SimtClocks *clocks) {
    free(clocks->known);
    free(clocks->fenced);
    *clocks = (SimtClocks){NULL, NULL};
}

static void copy(uint32_t *to, const uint32_t *from) {
    memcpy(to, from, simt.n_clocks * sizeof *to);
}

void simt_clocks_copy(SimtClocks *to, const SimtClocks *from) {
    if (!simt.keeps_clocks)
        return;
    copy(to->known, from->known);
    copy(to->fenced, from->fenced);
}

static void join(uint32_t *to, const uint32_t *from) {
    for (size_t i = 0; i < simt.n_clocks; i++)
        to[i] = from[i] > to[i] ? from[i] : to[i];
}

static void join_clocks(const SimtClocks *to, const SimtClocks *from) {
    join(to->known, from->known);
    join(to->fenced, from->fenced);
}

SimtClocks simt_clocks_of(int thread) {
    size_t first = (size_t)thread * simt.n_clocks;
    return (SimtClocks){simt.clocks.known + first, simt.clocks.fenced + first};
}

uint32_t simt_clock_now(void) {
    int thread = simt.current->thread;
    return simt.keeps_clocks ? simt_clocks_of(thread).known[thread] : simt.warp_clocks[thread / 32];
}

void simt_order_begin(void) {
    simt.keeps_clocks = false;
    for (size_t i = 0; i < sizeof simt.warp_clocks / sizeof *simt.warp_clocks; i++) {
        simt.warp_clocks[i] = 1;
        simt.barrier_clocks[i] = 0;
    }
}

void simt_order_close(void) {
    simt_clocks_free(&simt.clocks);
    simt_clocks_free(&simt.common);
}

void simt_keep_clocks(void) {
    if (simt.keeps_clocks || !simt.is_checked)
        return;
    size_t n_threads = (size_t)simt.launch->n_threads;
    simt.n_clocks = n_clocks();
    size_t n = n_threads * simt.n_clocks;
    if (!simt.clocks.known)
        simt.clocks = (SimtClocks){malloc(n * sizeof(uint32_t)), malloc(n * sizeof(uint32_t))};
    memset(simt.clocks.known, 0, n * sizeof(uint32_t));
    memset(simt.clocks.fenced, 0, n * sizeof(uint32_t));
    simt.keeps_clocks = true;
    for (size_t thread = 0; thread < n_threads; thread++) {
        uint32_t *known = simt_clocks_of((int)thread).known;
        for (size_t other = 0; other < n_threads; other++)
            known[other] = other / 32 == thread / 32 ? simt.warp_clocks[other / 32] - (other != thread)
                                                     : simt.barrier_clocks[other / 32];
    }
}

void simt_order_release(SimtClocks *to) {
    if (!simt.keeps_clocks)
        return;
    int thread = simt.current->thread;
    SimtClocks own = simt_clocks_of(thread);
    join_clocks(to, &own);
    own.known[thread]++;
}

void simt_order_acquire(int thread, const SimtClocks *from) {
    if (!simt.keeps_clocks)
        return;
    SimtClocks own = simt_clocks_of(thread);
    join_clocks(&own, from);
}

void simt_order_learn(int thread, int agent, uint32_t clock) {
    if (!simt.keeps_clocks)
        return;
    uint32_t *known = &simt_clocks_of(thread).known[agent];
    *known = clock > *known ? clock : *known;
}

void simt_fence_async(int line) {
    (void)line;
    simt_keep_clocks();
    if (!simt.keeps_clocks)
        return;
    SimtClocks own = simt_clocks_of(simt.current->thread);
    join(own.fenced, own.known);
}

/* What threads know becomes what each of them knows. */
static void order(int first, int n, unsigned mask) {
    SimtClocks all = simt_clocks_of(first + __builtin_ctz(mask));
    for (int i = 0; i < n; i++) {
        SimtClocks one = simt_clocks_of(first + i);
        if (mask >> i % 32 & 1)
            join_clocks(&all, &one);
    }
    for (int i = 0; i < n; i++) {
        SimtClocks one = simt_clocks_of(first + i);
        if (!(mask >> i % 32 & 1) || one.known == all.known)
            continue;
        copy(one.known, all.known);
        copy(one.fenced, all.fenced);
        one.known[first + i]++;
    }
    int own = first + __builtin_ctz(mask);
    all.known[own]++;
}

void simt_order_block(void) {
    if (simt.keeps_clocks) {
        order(0, simt.launch->n_threads, 0xffffffffu);
        return;
    }
    for (size_t i = 0; i < sizeof simt.warp_clocks / sizeof *simt.warp_clocks; i++)
        simt.barrier_clocks[i] = simt.warp_clocks[i]++;
}

void simt_order_warp(int warp, unsigned mask) {
    int n_lanes = simt.launch->n_threads - warp * 32;
    if (simt.keeps_clocks)
        order(warp * 32, n_lanes < 32 ? n_lanes : 32, mask);
    else
        simt.warp_clocks[warp]++;
}

/* A warp runs together: it knows what one of its threads does. */
void simt_order_common(int group, SimtClocks *clocks) {
    if (!simt.keeps_clocks)
        return;
    SimtClocks warp = simt_clocks_new();
    for (int i = 0; i < SIMT_WARPGROUP; i++) {
        SimtClocks one = simt_clocks_of(group * SIMT_WARPGROUP + i);
        if (i % 32 == 0)
            simt_clocks_copy(&warp, &one);
        join_clocks(&warp, &one);
        if (i == 31)
            simt_clocks_copy(clocks, &warp);
        for (size_t j = 0; j < simt.n_clocks && i % 32 == 31; j++) {
            clocks->known[j] = warp.known[j] < clocks->known[j] ? warp.known[j] : clocks->known[j];
            clocks->fenced[j] = warp.fenced[j] < clocks->fenced[j] ? warp.fenced[j] : clocks->fenced[j];
        }
    }
    simt_clocks_free(&warp);
}
