/* A run on a GPU: what the plan says, on its memory. The host's memory (runtime/memory.h) stays as it is: it is where
   weights are loaded and saved, and where inputs and outputs of programs are; its spaces have twins on the GPU.

   In: a plan with CUDA C, a device. Out: programs that run there. Never here: what a step is, what is trained. */
#ifndef MOEC_RUNTIME_GPU_H
#define MOEC_RUNTIME_GPU_H

#include "runtime/log.h"
#include "runtime/memory.h"
#include "runtime/passage.h"

typedef struct Gpu Gpu;

/* What --device says: "cpu" is no GPU, *gpu is NULL; "cuda" the first one, "cuda:N" number N; "auto" the first one
   where the plan has CUDA C and the driver has a device, else none. The caller closes it. */
bool gpu_open(Gpu **gpu, const MoecPlan *plan, const char *device, Log *log, Status *status);

/* FLOP/s of matrix products of that precision by the device's data sheet; 0: it is not known. */
double gpu_peak(const Gpu *gpu, const char *precision);

typedef struct {
    const char *dump, *edited; /* where kernels are written as files, where edited ones are read from; NULL: nowhere */
    const char *matmul;        /* --matmul */
    bool waits;                /* for each kernel before the next, so that a fault of the device names it */
    uint32_t choice;           /* of a kernel's n choices the one of this number modulo n is taken */
} GpuOptions;

/* Takes memory for spaces of n_bytes each, all of it 0, compiles and loads the plan's kernels. Fails before anything is
   taken where the device has less memory than that. Once, before the rest. */
bool gpu_start(Gpu *gpu, const uint64_t n_bytes[MOEC_SPACE_COUNT], const GpuOptions *options, Log *log, Status *status);

/* Whatever is open; NULL: nothing. */
void gpu_close(Gpu *gpu);

/* How many choices a kernel of the plan has at most on this device; 1: none has any. */
uint32_t gpu_most_choices(const Gpu *gpu);

/* The one that gpu_start has taken of a kernel: what a tuning file calls it; NULL: there is one way only. */
const char *gpu_choice(const Gpu *gpu, uint32_t kernel);

/* Runs the program, and writes how long kernels with choices took: seconds[kernel], the least of some runs in a row; of
   the others that stays as it is. Its inputs come from the host's memory; what it leaves is of no use. */
bool gpu_time(Gpu *gpu, const MoecProgram *program, const Memory *memory, double *seconds, Status *status);

/* The device's name. */
const char *gpu_name(const Gpu *gpu);

/* Between spaces of the host's memory and their twins; whole pages of the host's that are dropped go back to the
   system. */
typedef struct {
    Passage passage; /* first, so that a pointer to it is one to the whole */
    Gpu *gpu;
    const Memory *memory;
} GpuPassage;
GpuPassage gpu_passage(Gpu *gpu, const Memory *memory);

/* Runs a program of the plan, in two halves. Its inputs come from the host's memory, which may change once gpu_give
   returns; that doesn't wait for the run, only for what the device may be behind by. Outputs of the oldest run that was
   given and not taken are in the host's memory after gpu_take, which waits for them. At most GPU_MOST_GIVEN runs of a
   program, one of a program with large outputs, may be given and not taken. */
enum { GPU_MOST_GIVEN = 2 };
/* Takes what the program's runs need besides, before the first. */
bool gpu_prepare(Gpu *gpu, const MoecProgram *program, Status *status);
bool gpu_give(Gpu *gpu, const MoecProgram *program, const Memory *memory, Status *status);
bool gpu_take(Gpu *gpu, const MoecProgram *program, const Memory *memory, Status *status);

#endif
