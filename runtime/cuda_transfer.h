/* Copies between the host and a GPU through two pinned buffers: while one is copied, the other is filled or emptied. */
#ifndef MOEC_RUNTIME_CUDA_TRANSFER_H
#define MOEC_RUNTIME_CUDA_TRANSFER_H

#include "runtime/cuda_device.h"

/* Where bytes come from: `read` writes n bytes, which begin `offset` bytes into what is being copied. */
typedef struct CudaReader CudaReader;
struct CudaReader {
    bool (*read)(CudaReader *self, void *bytes, uint64_t offset, size_t n, Status *status);
};

/* Where they go: `write` takes n bytes, in order. */
typedef struct CudaWriter CudaWriter;
struct CudaWriter {
    bool (*write)(CudaWriter *self, const void *bytes, uint64_t offset, size_t n, Status *status);
};

enum { CUDA_TRANSFER_BUFFERS = 2 };

typedef struct {
    const CudaDevice *device;
    size_t buffer_bytes;
    unsigned next; /* buffer to fill; is_busy: a copy may be under way */
    void *buffers[CUDA_TRANSFER_BUFFERS];
    CUevent copied[CUDA_TRANSFER_BUFFERS];
    bool is_busy[CUDA_TRANSFER_BUFFERS];
} CudaTransfer;

/* On failure nothing is open. */
bool cuda_transfer_open(CudaTransfer *transfer, const CudaDevice *device, size_t buffer_bytes, Status *status);
void cuda_transfer_close(CudaTransfer *transfer, Status *status);

/* Copies n_bytes from the reader to the device. Returns when all is read; the device's work waits for the copies from
   cuda_transfer_finish on. `name`: of what is copied, for errors. */
bool cuda_transfer_upload(CudaTransfer *transfer, CUdeviceptr to, uint64_t n_bytes, CudaReader *reader,
                          const char *name, Status *status);

/* Waits until everything uploaded has arrived. */
bool cuda_transfer_finish(CudaTransfer *transfer, Status *status);

/* Copies n_bytes to the writer, once the device's work so far is done. */
bool cuda_transfer_download(CudaTransfer *transfer, CUdeviceptr from, uint64_t n_bytes, CudaWriter *writer,
                            const char *name, Status *status);

#endif
