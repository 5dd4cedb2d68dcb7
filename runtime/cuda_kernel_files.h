/* Kernels as files, for those who read and tune them: all of them are written to a folder, and texts that were edited
   there are run in place of those in the executable.

   A file NAME.cu begins with how each function of the kernel is launched, in order, which may be edited too:
     // launch: norm blocks 132 threads 256 shared 0
   A function whose blocks go on to further work ends in how many of them a multiprocessor has at most: resident 1. */
#ifndef MOEC_RUNTIME_CUDA_KERNEL_FILES_H
#define MOEC_RUNTIME_CUDA_KERNEL_FILES_H

#include "runtime/cuda_kernels.h"
#include "runtime/disk.h"
#include "runtime/log.h"

/* What a file has in place of a kernel of the executable; NULLs where it has nothing new. */
typedef struct {
    char *content;
    MoecCudaFunction *functions;
} CudaKernelFile;

/* The executable's kernels, or what a folder has in place of some. */
typedef struct {
    size_t n;
    CudaKernelSource *sources; /* [n] */
    CudaKernelFile *files;     /* [n] */
} CudaKernelFiles;

/* `folder`: NULL for none. A file of a name that no kernel has is warned about, and an edited one of a kernel whose
   product the library does: of these there are n_of_library, behind the n sources. On failure nothing is open. */
bool cuda_kernel_files_open(CudaKernelFiles *files, const CudaKernelSource *sources, size_t n, size_t n_of_library,
                            const char *folder, Log *log, Status *status);
void cuda_kernel_files_close(CudaKernelFiles *files);

/* NAME.cu, NAME.ptx, NAME.cubin of each kernel, and resources.txt, a table of what each needs. `outputs` must have
   PTX. The folder is made, if it is not there; other files in it stay. */
bool cuda_kernel_files_write(Disk *disk, const char *folder, const CudaKernels *kernels, const NvrtcOutput *outputs,
                             Status *status);

#endif
