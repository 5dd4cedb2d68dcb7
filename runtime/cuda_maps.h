/* Tensor maps: how the copy engine of a GPU sees arguments of kernels, as the driver encodes them. */
#ifndef MOEC_RUNTIME_CUDA_MAPS_H
#define MOEC_RUNTIME_CUDA_MAPS_H

#include "runtime/cuda_driver.h"
#include "runtime/plan.h"

/* Of the parameter at `at`. `kernel`: whose it is, for errors. */
bool cuda_map_encode(const CudaDriver *driver, const MoecCudaMap *map, CUdeviceptr at, const char *kernel,
                     CudaTensorMap *encoded, Status *status);

#endif
