/* The memory of a run: one block for each MoecSpace, all of it taken before anything is loaded. */
#ifndef MOEC_RUNTIME_MEMORY_H
#define MOEC_RUNTIME_MEMORY_H

#include "runtime/plan.h"
#include "runtime/status.h"

typedef struct {
    void *spaces[MOEC_SPACE_COUNT]; /* bases, of one page even for 0 bytes; all bytes 0 */
    uint64_t n_bytes[MOEC_SPACE_COUNT];
    struct Gpu *gpu;     /* where programs run, on twins of the spaces (runtime/gpu.h); NULL: here */
    void *const *packed; /* what MOEC_PACKED addresses are; NULL: all NULL (runtime/packed.h) */
    bool fills_ends;     /* for --check memory: what a value was in becomes NaN when its life has ended */
} Memory;

/* A block of n_bytes[s] for each space s. Fails before it takes anything where the machine has less than all of them
   need, unless programs run on `gpu`: then hardly any of it is touched at a time. */
bool memory_open(Memory *memory, const uint64_t n_bytes[MOEC_SPACE_COUNT], struct Gpu *gpu, Status *status);
void memory_close(Memory *memory);

uint64_t memory_bytes(const Memory *memory);

/* What can still be taken: of the machine, or of the control group that the process is in, whichever is less.
   UINT64_MAX where the system doesn't say. */
uint64_t memory_available(void);

/* The same of one control group, whose files lie in `folder`: its limit less its use, of which copies of files don't
   count. */
uint64_t memory_group_available(const char *folder, const char *limit_name, const char *used_name);

/* The tensor's first element; of MOEC_PACKED the copy, or NULL. */
void *memory_at(const Memory *memory, MoecAddress address);

#endif
