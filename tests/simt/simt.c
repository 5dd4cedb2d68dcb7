/* Fibers, their order, and where they meet. */
#include "tests/simt/simt.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "tests/simt/simt_internal.h"

#ifdef __SANITIZE_ADDRESS__
#include <sanitizer/asan_interface.h>
#endif

Simulator simt;

/* ---- Switching -------------------------------------------------------------------------------------------------- */

/* Saves what calls preserve on the stack, leaves the stack's top in *from, and goes on where `to` was left. */
void simt_switch(void **from, void *to);
__asm__(".text\n"
        ".globl simt_switch\n"
        ".type simt_switch, @function\n"
        "simt_switch:\n"
        "    pushq %rbp\n"
        "    pushq %rbx\n"
        "    pushq %r12\n"
        "    pushq %r13\n"
        "    pushq %r14\n"
        "    pushq %r15\n"
        "    movq %rsp, (%rdi)\n"
        "    movq %rsi, %rsp\n"
        "    popq %r15\n"
        "    popq %r14\n"
        "    popq %r13\n"
        "    popq %r12\n"
        "    popq %rbx\n"
        "    popq %rbp\n"
        "    ret\n"
        ".size simt_switch, . - simt_switch\n");

static void leave(void) {
    simt_switch(&simt.current->top, simt.scheduler);
}

void simt_fault(const char *format, ...) {
    if (simt.error[0] == '\0') {
        va_list arguments;
        int n = snprintf(simt.error, sizeof simt.error, "%s, block %lld, thread %d: ", simt.launch->name,
                         (long long)simt.block, simt.current->thread);
        va_start(arguments, format);
        vsnprintf(simt.error + n, sizeof simt.error - (size_t)n, format, arguments);
        va_end(arguments);
    }
    leave(); /* for good */
}

/* ---- Waiting ---------------------------------------------------------------------------------------------------- */

static uint64_t draw(uint64_t n) {
    simt.random ^= simt.random << 13;
    simt.random ^= simt.random >> 7;
    simt.random ^= simt.random << 17;
    return simt.random % n;
}

static void make_runnable(SimtFiber *fiber) {
    fiber->state = SIMT_RUNNABLE;
    simt.runnable[simt.n_runnable++] = fiber;
}

static const char *wait_name(const SimtFiber *fiber) {
    static const char *const names[] = {[SIMT_BARRIER] = "__syncthreads",
                                        [SIMT_WARP_BARRIER] = "__syncwarp",
                                        [SIMT_SHUFFLE] = "__shfl_sync",
                                        [SIMT_SHUFFLE_XOR] = "__shfl_xor_sync",
                                        [SIMT_SHUFFLE_UP] = "__shfl_up_sync",
                                        [SIMT_BALLOT] = "__ballot_sync",
                                        [SIMT_PRODUCT] = "mma"};
    return names[fiber->meeting];
}

static void wait_at(SimtMeeting meeting, int line, unsigned mask) {
    simt.current->state = SIMT_WAITING;
    simt.current->meeting = meeting;
    simt.current->line = line;
    simt.current->mask = mask;
}

/* Another of those that it waits for has left, or waits elsewhere. */
static void check_partner(const SimtFiber *own, const SimtFiber *other) {
    if (other->state == SIMT_EXITED)
        simt_fault("waits at the %s of line %d for thread %d, which has exited", wait_name(own), own->line,
                   other->thread);
    bool may_come = other->meeting != SIMT_BARRIER && other->mask != own->mask; /* once others have met it */
    if (other->state == SIMT_WAITING && !may_come && (other->meeting != own->meeting || other->line != own->line))
        simt_fault("waits at the %s of line %d, and thread %d at the %s of line %d", wait_name(own), own->line,
                   other->thread, wait_name(other), other->line);
}

void simt_sync_threads(int line) {
    int n_threads = simt.launch->n_threads;
    wait_at(SIMT_BARRIER, line, 0);
    if (simt.exited)
        check_partner(simt.current, simt.exited);
    if (simt.n_at_barrier > 0)
        check_partner(simt.current, simt.at_barrier);
    simt.at_barrier = simt.current;
    if (++simt.n_at_barrier == n_threads) {
        simt.n_at_barrier = 0;
        simt.epoch++;
        for (int i = 0; i < n_threads; i++)
            make_runnable(&simt.fibers[i]);
    }
    leave();
}

static float from_bf16(uint32_t half) {
    union {
        uint32_t bits;
        float number;
    } word = {half << 16};
    return word.number;
}

/* The lane has rows lane / 4 and 8 more of lhs, of k its columns lane % 4 * 2 and the next, and 8 more; row lane / 4 of
   rhs; and columns lane % 4 * 2 and the next of the sums. */
static void multiply(const SimtFiber *fiber, const SimtFiber *warp) {
    int lane = fiber->thread % 32;
    for (int quad = 0; quad < 8; quad++) {     /* of k: two columns */
        for (int half = 0; half < 2; half++) { /* of the sums' rows */
            uint32_t l = warp[lane / 4 * 4 + quad % 4].lhs[quad / 4 * 2 + half];
            for (int column = 0; column < 2; column++) {
                uint32_t r = warp[(lane % 4 * 2 + column) * 4 + quad % 4].rhs[quad / 4];
                fiber->sums[half * 2 + column] += from_bf16(l & 0xffffu) * from_bf16(r & 0xffffu);
                fiber->sums[half * 2 + column] += from_bf16(l >> 16) * from_bf16(r >> 16);
            }
        }
    }
}

/* What the lane gets of the values of all, once they are there. */
static void finish(SimtFiber *fiber, const SimtFiber *warp, SimtFiber *all) {
    int lane = fiber->thread % 32, source = lane;
    fiber->result = fiber->value;
    if (fiber->meeting == SIMT_SHUFFLE)
        source = fiber->argument % 32;
    else if (fiber->meeting == SIMT_SHUFFLE_XOR)
        source = lane ^ fiber->argument;
    else if (fiber->meeting == SIMT_SHUFFLE_UP)
        source = lane >= fiber->argument ? lane - fiber->argument : lane;
    if (!(fiber->mask >> source & 1)) {
        simt.current = all + lane;
        simt_fault("shuffles with lane %d, which is not in mask %x, in line %d", source, fiber->mask, fiber->line);
    }
    fiber->result = warp[source].value;
    if (fiber->meeting == SIMT_PRODUCT)
        multiply(fiber, warp);
    if (fiber->meeting != SIMT_BALLOT)
        return;
    fiber->result = 0;
    for (int i = 0; i < 32; i++)
        fiber->result |= (fiber->mask >> i & 1) && warp[i].value != 0 ? 1u << i : 0;
}

/* Waits for all lanes of the mask; what the warp's operation gives. */
static uint32_t meet_in_warp(SimtMeeting meeting, unsigned mask, uint32_t value, int argument, int line) {
    SimtFiber *own = simt.current, *warp = simt.fibers + own->thread / 32 * 32;
    int n_lanes = simt.launch->n_threads - own->thread / 32 * 32, n_missing = 0;
    own->value = value;
    own->argument = argument;
    wait_at(meeting, line, mask);
    if (!(mask >> own->thread % 32 & 1))
        simt_fault("is not in mask %x of the %s of line %d", mask, wait_name(own), line);
    if (n_lanes < 32 && mask >> n_lanes != 0)
        simt_fault("waits at the %s of line %d for lanes %x, of which the block has no more than %d", wait_name(own),
                   line, mask, n_lanes);
    for (int i = 0; i < 32; i++) {
        if (!(mask >> i & 1))
            continue;
        check_partner(own, &warp[i]);
        n_missing += warp[i].state != SIMT_WAITING;
    }
    if (n_missing == 0) {
        for (int i = 0; i < 32; i++) {
            if (mask >> i & 1)
                finish(&warp[i], warp, warp);
        }
        if (meeting == SIMT_WARP_BARRIER)
            simt.warp_epochs[own->thread / 32]++;
        for (int i = 0; i < 32; i++) {
            if (mask >> i & 1)
                make_runnable(&warp[i]);
        }
    }
    leave();
    return own->result;
}

void simt_sync_warp(unsigned mask, int line) {
    meet_in_warp(SIMT_WARP_BARRIER, mask, 0, 0, line);
}

typedef union {
    float number;
    uint32_t bits;
} Word;

uint32_t simt_shuffle(unsigned mask, uint32_t value, int lane, int line) {
    return meet_in_warp(SIMT_SHUFFLE, mask, value, lane, line);
}

float simt_shuffle_xor(unsigned mask, float value, int offset, int line) {
    Word word = {.number = value};
    word.bits = meet_in_warp(SIMT_SHUFFLE_XOR, mask, word.bits, offset, line);
    return word.number;
}

int simt_shuffle_up(unsigned mask, int value, int distance, int line) {
    return (int)meet_in_warp(SIMT_SHUFFLE_UP, mask, (uint32_t)value, distance, line);
}

unsigned simt_ballot(unsigned mask, int predicate, int line) {
    return meet_in_warp(SIMT_BALLOT, mask, predicate != 0, 0, line);
}

void simt_product(float *sums, const uint32_t *lhs, const uint32_t *rhs, int line) {
    simt.current->sums = sums;
    simt.current->lhs = lhs;
    simt.current->rhs = rhs;
    meet_in_warp(SIMT_PRODUCT, 0xffffffffu, 0, 0, line);
}

SimtIndex simt_thread_index(void) {
    return (SimtIndex){.x = (unsigned)simt.current->thread};
}

SimtIndex simt_block_index(void) {
    return (SimtIndex){.x = (unsigned)simt.block};
}

/* ---- Running ---------------------------------------------------------------------------------------------------- */

static void exit_from(const SimtFiber *other) {
    simt_fault("exits while thread %d waits at the %s of line %d", other->thread, wait_name(other), other->line);
}

static void fiber_main(void) {
    SimtFiber *own = simt.current;
    simt.launch->kernel(simt.launch->args);
    own->state = SIMT_EXITED;
    simt.exited = own;
    if (simt.n_at_barrier > 0)
        exit_from(simt.at_barrier);
    for (int i = own->thread / 32 * 32; i < simt.launch->n_threads && i < (own->thread / 32 + 1) * 32; i++) {
        if (simt.fibers[i].state == SIMT_WAITING && simt.fibers[i].mask >> own->thread % 32 & 1)
            exit_from(&simt.fibers[i]);
    }
    leave();
}

/* A stack on which simt_switch finds six registers and fiber_main, which is called as the convention has it: with the
   stack 8 bytes off a multiple of 16. */
static void prepare(SimtFiber *fiber, int thread) {
    enum { N_SAVED = 6 };
    void **top = (void **)(void *)(simt.stacks + (size_t)(thread + 1) * SIMT_STACK_BYTES) - 2;
    void (*start)(void) = fiber_main;
    memset(top - N_SAVED, 0, (N_SAVED + 2) * sizeof(void *));
    memcpy(top, &start, sizeof start);
    *fiber = (SimtFiber){.thread = thread, .top = top - N_SAVED};
    make_runnable(fiber);
}

static void run_block(void) {
    int n_threads = simt.launch->n_threads;
    simt.n_runnable = simt.n_at_barrier = 0;
    simt.exited = NULL;
    simt.epoch++;
    memset(simt.warp_epochs, 0, sizeof simt.warp_epochs);
    simt_fill_shared();
    for (int i = 0; i < n_threads; i++)
        prepare(&simt.fibers[i], i);
    while (simt.n_runnable > 0 && simt.error[0] == '\0') {
        int chosen = (int)draw((uint64_t)simt.n_runnable);
        simt.current = simt.runnable[chosen];
        simt.runnable[chosen] = simt.runnable[--simt.n_runnable];
        simt_switch(&simt.scheduler, simt.current->top);
    }
    for (int i = 0; i < n_threads && simt.error[0] == '\0'; i++) {
        const SimtFiber *fiber = &simt.fibers[i];
        if (fiber->state == SIMT_WAITING)
            snprintf(simt.error, sizeof simt.error,
                     "%s, block %lld: thread %d waits at the %s of line %d, and nothing more comes", simt.launch->name,
                     (long long)simt.block, i, wait_name(fiber), fiber->line);
    }
}

/* Blocks 0 to n - 1 in a random order. */
static int64_t *draw_order(int64_t n) {
    int64_t *order = malloc((size_t)n * sizeof *order);
    for (int64_t i = 0; i < n; i++) {
        int64_t j = (int64_t)draw((uint64_t)i + 1);
        order[i] = order[j];
        order[j] = i;
    }
    return order;
}

const char *simt_launch(const SimtLaunch *launch) {
    simt.launch = launch;
    simt.error[0] = '\0';
    simt.random = launch->seed * 2654435761u + 88172645463325252u;
    simt.n_launches++;
    if (launch->n_threads < 1 || launch->n_threads > SIMT_MAX_THREADS || launch->n_blocks < 1 ||
        launch->n_blocks > INT32_MAX) {
        snprintf(simt.error, sizeof simt.error, "%s: there are no %lld blocks of %d threads", launch->name,
                 (long long)launch->n_blocks, launch->n_threads);
        return simt.error;
    }
    size_t n_bytes = (size_t)launch->n_threads * SIMT_STACK_BYTES;
    simt.stacks = mmap(NULL, n_bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (simt.stacks == MAP_FAILED)
        return "no memory for the stacks";
#ifdef __SANITIZE_ADDRESS__
    __asan_unpoison_memory_region(simt.stacks, n_bytes); /* fibers that a fault has stopped never left their frames */
#endif
    simt_open_memory();
    int64_t *order = draw_order(launch->n_blocks);
    for (int64_t i = 0; i < launch->n_blocks && simt.error[0] == '\0'; i++) {
        simt.block = order[i];
        run_block();
    }
    free(order);
    simt_close_memory();
    munmap(simt.stacks, n_bytes);
    return simt.error[0] != '\0' ? simt.error : NULL;
}
