#include "runtime/cuda_transfer.h"

#include <assert.h>

/* A weight, in the place where errors give a value of the IR. */
#define PURPOSE(text, name) (&(const CudaPurpose){.action = "to " text, .value = name})

bool cuda_transfer_open(CudaTransfer *transfer, const CudaDevice *device, size_t buffer_bytes, Status *status) {
    *transfer = (CudaTransfer){.device = device, .buffer_bytes = buffer_bytes};
    for (int i = 0; i < CUDA_TRANSFER_BUFFERS && !status->failed; i++) {
        if (CUDA_CALL(device->driver, CUDA_TO("take pinned memory for copies"), status, cuMemHostAlloc,
                      &transfer->buffers[i], buffer_bytes, 0))
            CUDA_CALL(device->driver, CUDA_TO("follow copies"), status, cuEventCreate, &transfer->copied[i],
                      CUDA_EVENT_WITHOUT_TIME);
    }
    if (status->failed)
        cuda_transfer_close(transfer, status);
    return !status->failed;
}

void cuda_transfer_close(CudaTransfer *transfer, Status *status) {
    const CudaDevice *device = transfer->device;
    if (!device)
        return;
    cuda_transfer_finish(transfer, status);
    for (int i = 0; i < CUDA_TRANSFER_BUFFERS; i++) {
        if (transfer->copied[i])
            CUDA_CALL(device->driver, CUDA_TO("end an event"), status, cuEventDestroy, transfer->copied[i]);
        if (transfer->buffers[i])
            CUDA_CALL(device->driver, CUDA_TO("give pinned memory back"), status, cuMemFreeHost, transfer->buffers[i]);
    }
    *transfer = (CudaTransfer){0};
}

/* Waits until the copy from or to a buffer is done. */
static bool wait_for_buffer(CudaTransfer *transfer, unsigned i, const char *name, Status *status) {
    if (!transfer->is_busy[i])
        return true;
    transfer->is_busy[i] = false;
    return CUDA_CALL(transfer->device->driver, PURPOSE("copy", name), status, cuEventSynchronize, transfer->copied[i]);
}

/* After a copy from or to a buffer was given to the stream. */
static bool mark_buffer(CudaTransfer *transfer, unsigned i, const char *name, Status *status) {
    transfer->is_busy[i] = true;
    return CUDA_CALL(transfer->device->driver, PURPOSE("follow the copy of", name), status, cuEventRecord,
                     transfer->copied[i], transfer->device->copies);
}

static size_t part_bytes(const CudaTransfer *transfer, uint64_t n_bytes, uint64_t offset) {
    uint64_t rest = n_bytes - offset;
    return rest < transfer->buffer_bytes ? (size_t)rest : transfer->buffer_bytes;
}

bool cuda_transfer_upload(CudaTransfer *transfer, CUdeviceptr to, uint64_t n_bytes, CudaReader *reader,
                          const char *name, Status *status) {
    const CudaDevice *device = transfer->device;
    for (uint64_t offset = 0; offset < n_bytes; offset += transfer->buffer_bytes) {
        unsigned i = transfer->next;
        size_t n = part_bytes(transfer, n_bytes, offset);
        transfer->next = (i + 1) % CUDA_TRANSFER_BUFFERS;
        if (!wait_for_buffer(transfer, i, name, status) ||
            !reader->read(reader, transfer->buffers[i], offset, n, status) ||
            !CUDA_CALL(device->driver, PURPOSE("upload", name), status, cuMemcpyHtoDAsync, to + offset,
                       transfer->buffers[i], n, device->copies) ||
            !mark_buffer(transfer, i, name, status))
            return false;
    }
    return true;
}

bool cuda_transfer_finish(CudaTransfer *transfer, Status *status) {
    for (int i = 0; i < CUDA_TRANSFER_BUFFERS; i++)
        transfer->is_busy[i] = false;
    return cuda_device_wait(transfer->device, transfer->device->copies, CUDA_TO("finish copies"), status);
}

/* Begins to copy a part to a buffer. */
static bool fetch(CudaTransfer *transfer, unsigned i, CUdeviceptr from, size_t n, const char *name, Status *status) {
    return wait_for_buffer(transfer, i, name, status) &&
           CUDA_CALL(transfer->device->driver, PURPOSE("download", name), status, cuMemcpyDtoHAsync,
                     transfer->buffers[i], from, n, transfer->device->copies) &&
           mark_buffer(transfer, i, name, status);
}

bool cuda_transfer_download(CudaTransfer *transfer, CUdeviceptr from, uint64_t n_bytes, CudaWriter *writer,
                            const char *name, Status *status) {
    if (!cuda_device_wait(transfer->device, transfer->device->work, PURPOSE("finish before the download of", name),
                          status))
        return false;
    /* A part is fetched while the one before it is written. */
    unsigned fetching = 0, writing = 0;
    for (uint64_t offset = 0, fetched = 0; offset < n_bytes; offset += transfer->buffer_bytes) {
        for (; fetched < n_bytes && fetched <= offset + transfer->buffer_bytes; fetched += transfer->buffer_bytes) {
            if (!fetch(transfer, fetching, from + fetched, part_bytes(transfer, n_bytes, fetched), name, status))
                return false;
            fetching = (fetching + 1) % CUDA_TRANSFER_BUFFERS;
        }
        if (!wait_for_buffer(transfer, writing, name, status) ||
            !writer->write(writer, transfer->buffers[writing], offset, part_bytes(transfer, n_bytes, offset), status))
            return false;
        writing = (writing + 1) % CUDA_TRANSFER_BUFFERS;
    }
    return true;
}
