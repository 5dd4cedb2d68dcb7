/* Kernels as text on a device, one of NVIDIA's or that of tests/sim_cuda, through the runtime's modules: compiled and
   loaded as executables do it, run on copies of buffers of the host. */
#ifndef MOEC_TESTS_GPU_DEVICE_KERNELS_H
#define MOEC_TESTS_GPU_DEVICE_KERNELS_H

#include "codegen/form_cuda.h"
#include "runtime/cuda_kernels.h"
#include "tests/simt/simt.h"

typedef struct {
    CudaPlaces places;
    CudaDriver driver;
    Nvrtc nvrtc;
    CudaDevice device;
    char architecture[NVRTC_ARCHITECTURE_BYTES];
    NvrtcOutput *outputs; /* [kernels.n] */
    CudaKernels kernels;
} DeviceKernels;

/* `folder`: where NVIDIA's libraries are; NULL: wherever executables look. device_kernels_close after success and
   failure alike. */
bool device_kernels_open(DeviceKernels *at, const char *folder, Status *status);
void device_kernels_close(DeviceKernels *at, Status *status);

/* Compiles and loads; the sources must live until they are unloaded, or all is closed. Cubins are kept in the runtime's
   cache if it has a folder. */
bool device_kernels_load(DeviceKernels *at, const CudaKernelSource *sources, size_t n, Status *status);
void device_kernels_unload(DeviceKernels *at, Status *status);

/* Of a form: prelude and kernels. On the arena. */
CudaKernelSource device_kernel_source(Arena *arena, const Form *form, const FormCuda *cuda);

/* The name of a buffer that holds addresses of other buffers. */
#define DEVICE_TABLE "a table of pieces"
/* The name of one that holds tensor maps of other buffers, as the simulator reads them. */
#define DEVICE_MAPS "tensor maps"

/* Runs a kernel on the device as it would run on the host: args are addresses in the buffers. Each buffer has memory of
   its own there, of just its size, so that tools see what is beyond; what the kernel leaves comes back. */
bool device_kernels_run(const DeviceKernels *at, size_t kernel, void *const *args, const SimtBuffer *buffers,
                        size_t n_buffers, Status *status);

#endif
