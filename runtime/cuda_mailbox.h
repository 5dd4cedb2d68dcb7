/* A few numbers that go to the GPU before each step (learning rate, bias corrections), or come back after it (loss,
   norm), without the host waiting for the step: two pinned places take turns. What comes back is read a step late. */
#ifndef MOEC_RUNTIME_CUDA_MAILBOX_H
#define MOEC_RUNTIME_CUDA_MAILBOX_H

#include "runtime/cuda_device.h"

enum { CUDA_MAILBOX_PLACES = 2 };

typedef struct {
    const CudaDevice *device;
    CUdeviceptr at; /* of the numbers on the device */
    size_t n_bytes;
    unsigned next;      /* place for the next copy */
    unsigned n_fetched; /* copies that were fetched and not taken */
    void *places[CUDA_MAILBOX_PLACES];
    CUevent copied[CUDA_MAILBOX_PLACES];
    bool is_busy[CUDA_MAILBOX_PLACES];
} CudaMailbox;

/* For one direction. On failure nothing is open. */
bool cuda_mailbox_open(CudaMailbox *mailbox, const CudaDevice *device, CUdeviceptr at, size_t n_bytes, Status *status);
void cuda_mailbox_close(CudaMailbox *mailbox, Status *status);

/* To the device: work that is given after this reads `bytes`. Waits for the device if it is two steps behind. */
bool cuda_mailbox_send(CudaMailbox *mailbox, const void *bytes, Status *status);

/* From the device: what work so far leaves there is fetched; at most CUDA_MAILBOX_PLACES times before it is taken. */
bool cuda_mailbox_fetch(CudaMailbox *mailbox, Status *status);
/* The oldest that was fetched; waits until it is there. */
bool cuda_mailbox_take(CudaMailbox *mailbox, void *bytes, Status *status);

#endif
