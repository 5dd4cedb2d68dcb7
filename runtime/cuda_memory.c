#include "runtime/cuda_memory.h"

#include <assert.h>
#include <stdio.h>

enum { PAGE = 2 << 20, PARTS_BYTES = 512 };

static uint64_t round_up(uint64_t n, uint64_t step) {
    return (n + step - 1) / step * step;
}

static double gibibytes(uint64_t n_bytes) {
    return (double)n_bytes / 0x1p30;
}

/* "weights 12.00, gradients 24.00". */
static const char *list_parts(char text[PARTS_BYTES], const CudaPart *parts, size_t n_parts) {
    size_t length = 0;
    text[0] = '\0';
    for (size_t i = 0; i < n_parts && length < PARTS_BYTES; i++) {
        if (parts[i].n_bytes > 0)
            length += (size_t)snprintf(text + length, PARTS_BYTES - length, "%s%s %.2f", length ? ", " : "",
                                       parts[i].name, gibibytes(parts[i].n_bytes));
    }
    return text;
}

static bool check_room(const CudaMemory *memory, const CudaDevice *device, const CudaPart *parts, size_t n_parts,
                       Status *status) {
    char text[PARTS_BYTES];
    uint64_t n_free;
    if (!cuda_device_free_bytes(device, &n_free, status))
        return false;
    if (memory->n_bytes <= n_free)
        return true;
    return status_fail(
        status, STATUS_SYSTEM,
        "cuda:%d (%s): needs %.2f GiB of memory (%s), %.2f of %.2f are free; build with --memory-budget, "
        "fewer layers (-D layers=..) or a smaller micro-batch, or use a larger device",
        device->ordinal, device->name, gibibytes(memory->n_bytes), list_parts(text, parts, n_parts), gibibytes(n_free),
        gibibytes(device->n_bytes));
}

bool cuda_memory_open(CudaMemory *memory, const CudaDevice *device, const CudaPart *parts, size_t n_parts,
                      Status *status) {
    assert(n_parts <= CUDA_MAX_PARTS);
    *memory = (CudaMemory){0};
    for (size_t i = 0; i < n_parts; i++) {
        memory->parts[i] = memory->n_bytes;
        memory->n_bytes += round_up(parts[i].n_bytes, PAGE);
    }
    if (memory->n_bytes == 0)
        return true;
    if (!check_room(memory, device, parts, n_parts, status) ||
        !CUDA_CALL(device->driver, CUDA_TO("take the memory of the run"), status, cuMemAlloc, &memory->block,
                   memory->n_bytes)) {
        *memory = (CudaMemory){0};
        return false;
    }
    for (size_t i = 0; i < n_parts; i++)
        memory->parts[i] += memory->block;
    return true;
}

void cuda_memory_close(CudaMemory *memory, const CudaDevice *device, Status *status) {
    if (memory->block) {
        cuda_device_wait(device, device->copies, CUDA_TO("finish before memory is given back"), status);
        cuda_device_wait(device, device->work, CUDA_TO("finish before memory is given back"), status);
        CUDA_CALL(device->driver, CUDA_TO("give memory back"), status, cuMemFree, memory->block);
    }
    *memory = (CudaMemory){0};
}
