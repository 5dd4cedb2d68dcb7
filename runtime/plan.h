/* The runtime: a plan and a command line in, a run out. spec/training.md, checkpoints.md and numerics.md describe it.

   In: one MoecPlan, which codegen prints as C initialisers (what the compiler and the executable share: constant data;
   sizes are in elements unless they say bytes), checkpoints and token files. Out: training checkpoints, exports, what
   is said on the way. Never here: a name of the compiler, what a kernel computes, memory for tensors that is taken
   after the start. The order of the folder:
     status, json, utf8, random, sha256, dtype   what the rest stands on
     options, cpu, memory, program               the command line, the machine, running kernels
     profile, _table, _trace                     how long those took
     gemm, _plan, _pack, _kernels*, _workspace   matrix products; gemm_blas, blas: what to compare with
     gemm_packed, packed                         weights that stay packed for them
     safetensors, model_config, model_dir        a model directory is read
     weights, _map, _find, _read, _draw          the weight map: upcycling while loading
     data_file, _megatron, _shuffle, _stream     token files, and the order of sequences
     disk, output, export, checkpoint, _dir      what is written, whole or not at all
     gpu, _memory, _kernels, _product, _peak     a run on a GPU (spec/cuda.md), _program: its programs;
     passage                                     how weights come there; all use:
     cuda_api, _library, _error, _driver         NVIDIA's libraries
     cuda_device, _memory, _transfer             the device, what it holds, copies
     cuda_nvrtc, _cache, _compile                kernels become code
     cuda_kernels, _kernel_files                 they run, and are written and edited as files
     cuda_maps                                   how the copy engine sees arguments
     cuda_cublas, _product                       matrix products by NVIDIA's library
     cuda_graph, _mailbox                        a step as one call, and the numbers that go with it
     session, schedule, step, train, evaluate    a run; beside it log, meter, stop, dump
     tune                                        which choices of kernels are the fastest on a GPU
     tokenizer, _added, _split, _bpe, generate   text
     run, main                                   which of these a command line asks for */
#ifndef MOEC_RUNTIME_PLAN_H
#define MOEC_RUNTIME_PLAN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define MOEC_PLAN_VERSION 7

/* Memory kinds; a run allocates each once. ARENA holds activations and is shared by all programs in turn. */
typedef enum {
    MOEC_SPACE_WEIGHT,
    MOEC_SPACE_GRAD,
    MOEC_SPACE_MOMENT1,
    MOEC_SPACE_MOMENT2,
    MOEC_SPACE_ARENA,
    MOEC_SPACE_COUNT,
    MOEC_PACKED = MOEC_SPACE_COUNT /* no memory kind of the plan: the run decides which copies it has, and where */
} MoecSpace;

typedef struct {
    uint32_t space;  /* MoecSpace */
    uint64_t offset; /* bytes, 64-byte aligned for whole tensors; of MOEC_PACKED, an index into MoecPlan.packed */
} MoecAddress;

typedef enum { MOEC_DTYPE_F32, MOEC_DTYPE_BF16, MOEC_DTYPE_F16, MOEC_DTYPE_I32 } MoecDtype;

enum { MOEC_MAX_RANK = 6 };

/* A named tensor at an address: an input or an output of a program. */
typedef struct {
    const char *name;
    MoecDtype dtype;
    int rank;
    int64_t dims[MOEC_MAX_RANK];
    MoecAddress at;
} MoecTensor;

/* A generated kernel. `args` are the addresses of its results, then of its operands, in the order of the IR node; then,
   of what it multiplies by, packed copies or NULL. */
typedef void MoecKernelFunction(void *const *args);

typedef struct {
    MoecKernelFunction *function;
    const char *name;
    double flops, bytes; /* of one launch */
} MoecKernel;

/* A function of a kernel's CUDA C, and the one-dimensional grid that it is launched on. */
typedef struct {
    const char *name;
    uint32_t n_blocks, n_threads; /* n_threads: of a block */
    uint32_t n_shared_bytes;      /* of a block, that the launch asks for */
    uint32_t n_resident;          /* 0, or no more blocks are launched than so many a multiprocessor */
} MoecCudaFunction;

enum { MOEC_MAP_RANK = 5 };

/* How the copy engine sees a parameter: a tensor map, as cuTensorMapEncodeTiled takes it. Dimensions are innermost
   first; elements of the first follow each other. */
typedef struct {
    uint32_t parameter; /* its number */
    uint64_t offset;    /* bytes */
    MoecDtype dtype;
    uint32_t rank;
    uint64_t extents[MOEC_MAP_RANK], strides[MOEC_MAP_RANK]; /* strides in bytes; the first is an element's */
    uint32_t box[MOEC_MAP_RANK];                             /* what one copy takes */
    uint32_t swizzle;                                        /* bytes: 0, 32, 64, 128 */
} MoecCudaMap;

/* The kernel for some GPUs: functions that run one after the other, with the same parameters. These are addresses: of
   the kernel's arguments, in order, then of its scratch memory, if it needs some, then of its maps, encoded, if it has
   some. */
typedef struct {
    uint32_t capability; /* of the GPUs that can run it: 10 major + minor */
    bool is_for_later;   /* and all later ones, too */
    const char *text;    /* behind MoecPlan.cuda_prelude */
    const MoecCudaFunction *functions;
    uint32_t n_functions;
    const MoecCudaMap *maps;
    uint32_t n_maps;
    uint64_t scratch_bytes;
    const char *choice; /* what a tuning file calls it; NULL: there is one way only */
} MoecCudaVariant;

/* A matrix: element (i, j) is offset + (i * stride + j * k_stride) elements into a parameter. */
typedef struct {
    uint32_t parameter; /* its number */
    uint64_t offset;    /* bytes */
    int64_t stride, k_stride;
} MoecCudaMatrix;

/* The kernel as one matrix product of a library: out[rows, cols] = lhs[rows, k] rhs[cols, k]^T, + added[rows, cols] if
   `adds`; sums are f32. Of operands, one of the strides is 1; of out and added, which may be out, k_stride is, and
   stride is the same. */
typedef struct {
    int64_t n_rows, n_cols, k;
    MoecCudaMatrix lhs, rhs, out, added;
    MoecDtype operand_dtype, result_dtype;
    bool adds;
    uint32_t alignment; /* bytes: all of them start at multiples of it */
} MoecCudaProduct;

/* The same kernel as CUDA C. Where `pieces` of a parameter is not 0, so many of the kernel's arguments make up an array
   in the device's memory, which the parameter is the address of. */
typedef struct {
    const MoecCudaVariant *variants; /* the first that the GPU can run is to be taken; the last is for capability 80 */
    uint32_t n_variants;             /* 0: the kernel runs on the host, and has no operands */
    const uint32_t *pieces;          /* [n_parameters] */
    uint32_t n_parameters;           /* without scratch memory and maps */
    const MoecCudaProduct *product;  /* what a library can do in its place; NULL: nothing */
    const char *key;                 /* what a tuning file calls it; NULL: it has no choices */
} MoecCudaKernel;

typedef struct {
    uint32_t kernel;    /* index into MoecPlan.kernels */
    uint32_t first_arg; /* index into MoecProgram.args */
    uint32_t n_args;
    const char *value;  /* IR value it computes, "%q.12" */
    const char *source; /* "model.moe:14:7" */
    uint32_t first_end; /* index into MoecProgram.ends */
    uint32_t n_ends;    /* of values that no later launch reads */
} MoecLaunch;

/* Where in MOEC_SPACE_ARENA a value was. */
typedef struct {
    uint64_t offset, n_bytes;
} MoecRange;

typedef struct {
    const char *name; /* "train", "update", "eval", "generate" */
    const MoecLaunch *launches;
    uint32_t n_launches;
    const MoecAddress *args;
    uint32_t n_args;
    const MoecTensor *inputs;
    uint32_t n_inputs;
    const MoecTensor *outputs;
    uint32_t n_outputs;
    uint64_t arena_bytes;
    const MoecRange *ends;
    uint32_t n_ends;
} MoecProgram;

/* A weight and how it is made and exported: the attributes of an IR state (spec/ir.md, "States"). Its moments stand at
   the same offset of their spaces. So does its gradient in MOEC_SPACE_GRAD, if it is there; if program "train" leaves
   it in the arena, for one micro-batch, that is the place where those of several are added up. */
typedef struct {
    const char *name;
    int rank;
    int64_t dims[MOEC_MAX_RANK];
    uint64_t offset;      /* bytes in MOEC_SPACE_WEIGHT */
    MoecAddress gradient; /* as "train" leaves it and "update" takes it */
    const char *source;   /* dense tensor, or NULL */
    const char *init;     /* "normal", "zeros", "ones" */
    double std;
    int64_t experts; /* 0: not an expert weight; else dims[0] */
    int64_t segments, segment_dim;
    double scale;
    double noise;
    double drop;
    int64_t drop_dim, drop_extent;
    const char *drop_key;
    int64_t tile;
    const char *export_name;
    bool decay;
    const char *where; /* "model.moe:14:7" */
} MoecWeight;

/* A copy of a weight that stays packed for matrix products on the CPU: spec/kernels.md, "Packed weights". Element (i,
   k) of matrix g is g * group_stride + i * stride + k * k_stride behind the first; i < n_cols. */
typedef struct {
    int precision;    /* MoecGemmPrecision */
    MoecAddress from; /* of the first element */
    int64_t n_groups, n_cols, k, stride, k_stride, group_stride;
    uint64_t n_bytes;                            /* that the plan counts for it */
    int64_t n_trained, n_evaluated, n_generated; /* products that read it in a run of "train", "eval", "generate" */
    double least_spared; /* packings in a run of "train" that it must spare to be worth its memory */
} MoecPacked;

/* A value of config.json: one JSON literal, ready to be printed ("4096", "\"silu\"", "[1, 2]"). */
typedef struct {
    const char *key;
    const char *json;
    const char *where;
} MoecConfigValue;

/* The train clause: defaults that flags override. */
typedef struct {
    int64_t steps, global_batch; /* sequences per optimizer step */
    double lr, min_lr;           /* min_lr: fraction of lr at the end of the schedule */
    const char *schedule;        /* "cosine", "wsd", "constant" */
    int64_t warmup, decay_steps; /* decay_steps: length of wsd's last leg */
    double beta1, beta2, epsilon, weight_decay, clip;
    int64_t eval_every, save_every, seed;
} MoecTrainConfig;

typedef struct {
    int version; /* MOEC_PLAN_VERSION */
    const char *model;
    const char *hash; /* of the plan's text: a checkpoint resumes only under the same */
    bool is_moe;
    int64_t micro_batch, sequence, vocab; /* the dims of input "tokens" of "train"; vocab: last dim of logits */
    int64_t generate_sequence;            /* the same for "generate", whose batch is 1 */
    int64_t n_experts, top_k, n_moe_layers;
    double active_parameters, total_parameters;
    double model_flops_per_token; /* training, causal half counted, recomputation not: spec/numerics.md */
    double full_flops_per_token;  /* the same with attention's squares in full, as some count */
    uint64_t space_bytes[MOEC_SPACE_COUNT];
    const MoecKernel *kernels;
    uint32_t n_kernels;
    const MoecProgram *programs;
    uint32_t n_programs;
    const MoecWeight *weights;
    uint32_t n_weights;
    const MoecPacked *packed;
    uint32_t n_packed;
    uint64_t packed_limit;               /* bytes that they may take in all */
    const MoecConfigValue *dense_config; /* what the dense checkpoint's config.json must say */
    uint32_t n_dense_config;
    const MoecConfigValue *export_config; /* what the exported config.json says on top of it */
    uint32_t n_export_config;
    MoecTrainConfig train;
    const char *precision;              /* of what most matrix products read: "f32" or "bf16" */
    const MoecCudaKernel *cuda_kernels; /* one a kernel; NULL: there are none, and cuda_missing says why */
    const char *cuda_prelude, *cuda_missing;
    const char *cuda_tuned_for; /* the device whose tuning file the build took; NULL: it took none */
    const char *cpu_features; /* blank-separated, "avx2 fma": what the kernels need, checked at start; "" any x86-64 */
} MoecPlan;

extern const MoecPlan moec_plan;

#endif
