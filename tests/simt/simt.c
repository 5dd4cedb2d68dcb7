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

void simt_leave(void) {
    simt_switch(&simt.current->top, simt.scheduler);
}

static void note(const char *format, va_list arguments) {
    if (simt.error[0] != '\0')
        return;
    int n = snprintf(simt.error, sizeof simt.error, "%s, block %lld, thread %d: ", simt.launch->name,
                     (long long)simt.block, simt.current->thread);
    vsnprintf(simt.error + n, sizeof simt.error - (size_t)n, format, arguments);
}

void simt_note(const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    note(format, arguments);
    va_end(arguments);
}

void simt_fault(const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    note(format, arguments);
    va_end(arguments);
    simt_leave(); /* for good */
}

/* ---- Waiting ---------------------------------------------------------------------------------------------------- */

uint64_t simt_draw(uint64_t n) {
    simt.random ^= simt.random << 13;
    simt.random ^= simt.random >> 7;
    simt.random ^= simt.random << 17;
    return simt.random % n;
}

void simt_make_runnable(SimtFiber *fiber) {
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
                                        [SIMT_PRODUCT] = "mma",
                                        [SIMT_PHASE] = "moec_barrier_wait",
                                        [SIMT_NAMED_BARRIER] = "moec_named_barrier",
                                        [SIMT_WARPGROUP_PRODUCT] = "moec_wgmma",
                                        [SIMT_REGISTERS] = "MOEC_REGISTERS"};
    return names[fiber->meeting];
}

void simt_wait_at(SimtMeeting meeting, int line, unsigned mask) {
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
    bool may_come = other->meeting >= SIMT_PHASE || /* once others have met it */
                    (other->meeting != SIMT_BARRIER && other->mask != own->mask);
    if (other->state == SIMT_WAITING && !may_come && (other->meeting != own->meeting || other->line != own->line))
        simt_fault("waits at the %s of line %d, and thread %d at the %s of line %d", wait_name(own), own->line,
                   other->thread, wait_name(other), other->line);
}

void simt_sync_threads(int line) {
    int n_threads = simt.launch->n_threads;
    simt_wait_at(SIMT_BARRIER, line, 0);
    if (simt.exited)
        check_partner(simt.current, simt.exited);
    if (simt.n_at_barrier > 0)
        check_partner(simt.current, simt.at_barrier);
    simt.at_barrier = simt.current;
    if (++simt.n_at_barrier == n_threads) {
        simt.n_at_barrier = 0;
        simt.epoch++;
        simt_order_block();
        for (int i = 0; i < n_threads; i++)
            simt_make_runnable(&simt.fibers[i]);
    }
    simt_leave();
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
    simt_wait_at(meeting, line, mask);
    if (!(mask >> own->thread % 32 & 1))
        simt_fault("is not in mask %x of the %s of line %d", mask, wait_name(own), line);
    if (n_lanes < 32 && mask >> n_lanes != 0)
        simt_fault("waits at the %s of line %d for lanes %x, of which the block has no more than %d", wait_name(own),
                   line, mask, n_lanes);
    for (int i = 0; i < 32; i++) {
        if (!(mask >> i & 1))
            continue;
        check_partner(own, &warp[i]);
        n_missing += warp[i].state != SIMT_WAITING || warp[i].meeting != meeting || warp[i].mask != mask;
    }
    if (n_missing == 0) {
        for (int i = 0; i < 32; i++) {
            if (mask >> i & 1)
                finish(&warp[i], warp, warp);
        }
        if (meeting == SIMT_WARP_BARRIER)
            simt_order_warp(own->thread / 32, mask);
        for (int i = 0; i < 32; i++) {
            if (mask >> i & 1)
                simt_make_runnable(&warp[i]);
        }
    }
    simt_leave();
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

SimtIndex simt_grid_size(void) {
    return (SimtIndex){.x = (unsigned)simt.launch->n_blocks};
}

/* ---- Warpgroups -------------------------------------------------------------------------------------------------- */

bool simt_meet_in_warpgroup(SimtMeeting meeting, int line) {
    SimtFiber *own = simt.current, *group = simt.fibers + own->thread / SIMT_WARPGROUP * SIMT_WARPGROUP;
    if (simt.launch->n_threads - (int)(group - simt.fibers) < SIMT_WARPGROUP)
        simt_fault("is in no warpgroup of %d threads, and waits at the %s of line %d", SIMT_WARPGROUP,
                   (own->meeting = meeting, wait_name(own)), line);
    simt_wait_at(meeting, line, 0);
    int n_missing = 0;
    for (int i = 0; i < SIMT_WARPGROUP; i++) {
        if (group[i].state == SIMT_EXITED)
            check_partner(own, &group[i]);
        bool is_here = group[i].state == SIMT_WAITING && group[i].meeting == meeting;
        n_missing += !is_here;
        if (is_here && (group[i].line != line || group[i].argument != own->argument))
            simt_fault("waits at the %s of line %d, and thread %d of its warpgroup at that of line %d, or for another "
                       "number",
                       wait_name(own), line, group[i].thread, group[i].line);
    }
    if (n_missing > 0)
        simt_leave();
    return n_missing == 0;
}

void simt_release_warpgroup(void) {
    SimtFiber *group = simt.fibers + simt.current->thread / SIMT_WARPGROUP * SIMT_WARPGROUP;
    for (int i = 0; i < SIMT_WARPGROUP; i++)
        simt_make_runnable(&group[i]);
    simt_leave();
}

void *simt_grow(void *items, size_t n, size_t *capacity, size_t item_bytes) {
    if (n < *capacity)
        return items;
    *capacity = *capacity > 0 ? *capacity * 2 : 16;
    return realloc(items, *capacity * item_bytes);
}

/* ---- Running ---------------------------------------------------------------------------------------------------- */

static void exit_from(const SimtFiber *other) {
    simt_fault("exits while thread %d waits at the %s of line %d", other->thread, wait_name(other), other->line);
}

static void fiber_main(void) {
    SimtFiber *own = simt.current;
    simt.launch->kernel(simt.launch->args);
    simt_check_stores();
    simt_check_products();
    own->state = SIMT_EXITED;
    simt.exited = own;
    if (simt.n_at_barrier > 0)
        exit_from(simt.at_barrier);
    for (int i = own->thread / 32 * 32; i < simt.launch->n_threads && i < (own->thread / 32 + 1) * 32; i++) {
        if (simt.fibers[i].state == SIMT_WAITING && simt.fibers[i].mask >> own->thread % 32 & 1)
            exit_from(&simt.fibers[i]);
    }
    simt_leave();
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
    simt_make_runnable(fiber);
}

/* Threads that wait at the same place, or have ended, from this one on; the number of the first other one. */
static int describe_waiting(int first, FILE *out) {
    const SimtFiber *fiber = &simt.fibers[first];
    int end = first + 1;
    for (; end < simt.launch->n_threads; end++) {
        const SimtFiber *other = &simt.fibers[end];
        if (other->state != fiber->state ||
            (fiber->state == SIMT_WAITING && (other->meeting != fiber->meeting || other->line != fiber->line)))
            break;
    }
    fprintf(out, end > first + 1 ? "; threads %d to %d" : "; thread %d", first, end - 1);
    if (fiber->state == SIMT_EXITED) {
        fputs(end > first + 1 ? " have ended" : " has ended", out);
        return end;
    }
    fprintf(out, " wait%s at the %s of line %d", end > first + 1 ? "" : "s", wait_name(fiber), fiber->line);
    if (fiber->meeting == SIMT_PHASE) {
        char barrier[160];
        simt_barrier_describe(fiber->barrier, barrier, sizeof barrier);
        fprintf(out, " for %s", barrier);
    }
    return end;
}

static void describe_deadlock(void) {
    FILE *out = fmemopen(simt.error, sizeof simt.error, "w");
    fprintf(out, "%s, block %lld: nothing more comes", simt.launch->name, (long long)simt.block);
    for (int i = 0; i < simt.launch->n_threads;)
        i = describe_waiting(i, out);
    fclose(out);
    simt.error[sizeof simt.error - 1] = '\0';
}

static bool is_waiting(void) {
    for (int i = 0; i < simt.launch->n_threads; i++) {
        if (simt.fibers[i].state == SIMT_WAITING)
            return true;
    }
    return false;
}

static void begin_block(void) {
    simt.n_runnable = simt.n_at_barrier = 0;
    simt.exited = NULL;
    simt.first_epoch = ++simt.epoch;
    simt_order_begin();
    simt_begin_barriers();
    simt_begin_products();
    simt_fill_shared();
    for (int i = 0; i < simt.launch->n_threads; i++)
        prepare(&simt.fibers[i], i);
}

/* What comes on its own comes as late as may be: when no thread can go on. */
static void run_block(void) {
    begin_block();
    while (simt.error[0] == '\0' && (simt.n_runnable > 0 || simt_land())) {
        if (simt.n_runnable == 0)
            continue;
        int chosen = (int)simt_draw((uint64_t)simt.n_runnable);
        simt.current = simt.runnable[chosen];
        simt.runnable[chosen] = simt.runnable[--simt.n_runnable];
        simt_switch(&simt.scheduler, simt.current->top);
    }
    if (simt.error[0] == '\0' && is_waiting())
        describe_deadlock();
    for (int i = 0; i < simt.launch->n_threads; i++) {
        simt_end_copies(&simt.fibers[i]);
        simt_end_stores(&simt.fibers[i]);
    }
}

/* Blocks 0 to n - 1 in a random order. */
static int64_t *draw_order(int64_t n) {
    int64_t *order = malloc((size_t)n * sizeof *order);
    for (int64_t i = 0; i < n; i++) {
        int64_t j = (int64_t)simt_draw((uint64_t)i + 1);
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
    simt.is_checked = launch->n_buffers > 0;
    size_t n_bytes = (size_t)launch->n_threads * SIMT_STACK_BYTES;
    simt.stacks = mmap(NULL, n_bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (simt.stacks == MAP_FAILED)
        return "no memory for the stacks";
#ifdef __SANITIZE_ADDRESS__
    __asan_unpoison_memory_region(simt.stacks, n_bytes); /* fibers that a fault has stopped never left their frames */
#endif
    simt_open_memory();
    if (launch->shared_bytes > SIMT_MAX_SHARED)
        snprintf(simt.error, sizeof simt.error, "%s: %zu bytes of shared memory, and a GPU has %d", launch->name,
                 launch->shared_bytes, SIMT_MAX_SHARED);
    int64_t *order = draw_order(launch->n_blocks);
    for (int64_t i = 0; i < launch->n_blocks && simt.error[0] == '\0'; i++) {
        simt.block = order[i];
        run_block();
    }
    free(order);
    simt_close_barriers();
    simt_begin_products();
    simt_order_close();
    simt_close_memory();
    munmap(simt.stacks, n_bytes);
    return simt.error[0] != '\0' ? simt.error : NULL;
}
