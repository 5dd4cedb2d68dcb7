/* What the files of gpu.h share: gpu.c opens and closes all of it, gpu_memory.c has the device's memory, gpu_kernels.c
   compiles, gpu_program.c runs. */
#ifndef MOEC_RUNTIME_GPU_INTERNAL_H
#define MOEC_RUNTIME_GPU_INTERNAL_H

#include "runtime/cuda_graph.h"
#include "runtime/cuda_kernel_files.h"
#include "runtime/cuda_mailbox.h"
#include "runtime/cuda_memory.h"
#include "runtime/cuda_product.h"
#include "runtime/cuda_transfer.h"
#include "runtime/gpu.h"

/* Parts of the device's memory: the plan's spaces, then these. MADE: what kernels of the host make, of all launches;
   TABLES: arrays of addresses; MAPS: tensor maps, encoded. */
enum {
    PART_SCRATCH = MOEC_SPACE_COUNT,
    PART_MADE,
    PART_TABLES,
    PART_MAPS,
    PART_WORKSPACE,
    N_PARTS,
    MADE_ALIGNMENT = 256
};
enum { BUFFER_BYTES = 16 << 20, MOST_COMPILER_THREADS = 16 };

/* Of a product that a library does, and of a kernel of the host, launch.kernel is NULL; of the latter launch.args is
   where its result is kept. */
typedef struct {
    CudaLaunch launch;
    bool is_of_library;
    CudaProductArgs product; /* then */
} GpuLaunch;

/* A program with its addresses those of the device. */
typedef struct {
    GpuLaunch *launches; /* [n_launches] */
    CUdeviceptr *args;   /* of all launches */
    CudaGraph graph;     /* all launches in one; not there before the second run */
    bool has_run;
    CudaMailbox *inputs,
        *outputs; /* [n_inputs], [n_outputs]; of one that is large, not open. NULL before the first run */
    int n_given;  /* runs whose outputs were not taken */
} GpuProgram;

struct Gpu {
    const MoecPlan *plan;
    CudaPlaces places;
    CudaDriver driver;
    CudaDevice device;
    CudaMemory memory;
    CudaTransfer transfer;
    CudaKernelSource *sources; /* of the kernels that have CUDA C */
    char **texts;
    size_t n_sources;
    size_t n_of_library;              /* behind them: kernels whose products the library does */
    size_t *numbers;                  /* of each kernel of the plan among these */
    const MoecCudaVariant **variants; /* of each kernel, the one for this device; NULL: it runs on the host */
    CudaCache cache;                  /* of code, and of choices that were measured */
    bool has_cache;
    Cublas cublas;
    CudaProducts products; /* cublas NULL: no library is used */
    bool waits;            /* launches are waited for one by one, and not recorded */
    CudaProduct *chosen;   /* [plan->n_kernels]: of products that a library does; description NULL: not open */
    CudaKernelFiles files; /* the same, or what a folder has in their place */
    CudaKernels kernels;
    GpuProgram *programs; /* [plan->n_programs] */
    uint64_t *tables;     /* as they are in the device's memory */
    size_t n_tables, next_table;
    CudaTensorMap *maps; /* the same */
    size_t n_maps, next_map;
    uint64_t next_made; /* bytes */
};

/* ---- Memory ------------------------------------------------------------------------------------------------------ */

/* Takes memory for all parts, of which spaces have n_bytes each; those are filled with 0. */
bool gpu_memory_open(Gpu *gpu, const uint64_t n_bytes[MOEC_SPACE_COUNT], Status *status);

CUdeviceptr gpu_at(const Gpu *gpu, MoecAddress address);

/* A kernel of the host has no operands, and one result: its bytes are that one's. 0 of other kernels. */
uint64_t gpu_made_bytes(const MoecPlan *plan, const MoecLaunch *launch);

/* Between the host's memory and the device's, done when they return. `name`: of what is copied, for errors. */
bool gpu_copy_to_device(Gpu *gpu, CUdeviceptr to, const void *from, uint64_t n_bytes, const char *name, Status *status);
bool gpu_copy_to_host(Gpu *gpu, void *to, CUdeviceptr from, uint64_t n_bytes, const char *name, Status *status);

/* ---- Kernels ----------------------------------------------------------------------------------------------------- */

/* Chooses the kernels' variants: before memory is taken. `choice`: as in GpuOptions. */
bool gpu_variants_open(Gpu *gpu, uint32_t choice, Status *status);
/* Compiles and loads the plan's kernels. */
bool gpu_kernels_open(Gpu *gpu, const GpuOptions *options, Log *log, Status *status);
void gpu_kernels_close(Gpu *gpu, Status *status);

/* NULL: there is none. */
const CudaCache *gpu_cache(const Gpu *gpu);

/* ---- Products ---------------------------------------------------------------------------------------------------- */

/* Opens the library of matrix products: where it has to be used or, by --matmul auto, can be. */
bool gpu_library_open(Gpu *gpu, const GpuOptions *options, Log *log, Status *status);
void gpu_library_close(Gpu *gpu, Status *status);

/* Whether it does the kernel. */
bool gpu_uses_library(const Gpu *gpu, uint32_t kernel);

/* Where operands and results of a launch of that kernel are, of its parameters. */
CudaProductArgs gpu_product_args(const Gpu *gpu, uint32_t kernel, const CUdeviceptr *parameters);

/* Chooses how the library does the kernel, once: by time, where it was not measured before. It runs on the addresses of
   one launch, before any program has run: of two operands one is no weight and still 0, so gradients stay 0. */
bool gpu_product_choose(Gpu *gpu, uint32_t kernel, const GpuLaunch *launch, Status *status);
bool gpu_product_run(const Gpu *gpu, uint32_t kernel, const GpuLaunch *launch, Status *status);

/* ---- Programs ---------------------------------------------------------------------------------------------------- */

/* Gives all launches their addresses. */
bool gpu_programs_open(Gpu *gpu, Status *status);
/* Inputs go from the host's memory to the device's. */
bool gpu_send(Gpu *gpu, const MoecProgram *program, const Memory *memory, Status *status);
bool gpu_run_launch(Gpu *gpu, const MoecProgram *program, uint32_t number, Status *status);
void gpu_programs_close(Gpu *gpu, Status *status);

#endif
