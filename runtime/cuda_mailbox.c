#include "runtime/cuda_mailbox.h"

#include <assert.h>
#include <string.h>

bool cuda_mailbox_open(CudaMailbox *mailbox, const CudaDevice *device, CUdeviceptr at, size_t n_bytes, Status *status) {
    *mailbox = (CudaMailbox){.device = device, .at = at, .n_bytes = n_bytes};
    for (int i = 0; i < CUDA_MAILBOX_PLACES && !status->failed; i++) {
        if (CUDA_CALL(device->driver, CUDA_TO("take pinned memory for numbers"), status, cuMemHostAlloc,
                      &mailbox->places[i], n_bytes, 0))
            CUDA_CALL(device->driver, CUDA_TO("follow numbers"), status, cuEventCreate, &mailbox->copied[i],
                      CUDA_EVENT_WITHOUT_TIME);
    }
    if (status->failed)
        cuda_mailbox_close(mailbox, status);
    return !status->failed;
}

void cuda_mailbox_close(CudaMailbox *mailbox, Status *status) {
    const CudaDevice *device = mailbox->device;
    if (!device)
        return;
    cuda_device_wait(device, device->work, CUDA_TO("finish before numbers are given back"), status);
    for (int i = 0; i < CUDA_MAILBOX_PLACES; i++) {
        if (mailbox->copied[i])
            CUDA_CALL(device->driver, CUDA_TO("end an event"), status, cuEventDestroy, mailbox->copied[i]);
        if (mailbox->places[i])
            CUDA_CALL(device->driver, CUDA_TO("give pinned memory back"), status, cuMemFreeHost, mailbox->places[i]);
    }
    *mailbox = (CudaMailbox){0};
}

/* Until the newest copy from or to a place is done. */
static bool wait_for_place(CudaMailbox *mailbox, unsigned i, Status *status) {
    if (!mailbox->is_busy[i])
        return true;
    mailbox->is_busy[i] = false;
    return CUDA_CALL(mailbox->device->driver, CUDA_TO("wait for numbers"), status, cuEventSynchronize,
                     mailbox->copied[i]);
}

static bool mark_place(CudaMailbox *mailbox, unsigned i, Status *status) {
    mailbox->is_busy[i] = true;
    mailbox->next = (i + 1) % CUDA_MAILBOX_PLACES;
    return CUDA_CALL(mailbox->device->driver, CUDA_TO("follow numbers"), status, cuEventRecord, mailbox->copied[i],
                     mailbox->device->work);
}

bool cuda_mailbox_send(CudaMailbox *mailbox, const void *bytes, Status *status) {
    unsigned i = mailbox->next;
    if (!wait_for_place(mailbox, i, status))
        return false;
    memcpy(mailbox->places[i], bytes, mailbox->n_bytes);
    return CUDA_CALL(mailbox->device->driver, CUDA_TO("send numbers of a step"), status, cuMemcpyHtoDAsync, mailbox->at,
                     mailbox->places[i], mailbox->n_bytes, mailbox->device->work) &&
           mark_place(mailbox, i, status);
}

bool cuda_mailbox_fetch(CudaMailbox *mailbox, Status *status) {
    unsigned i = mailbox->next;
    assert(mailbox->n_fetched < CUDA_MAILBOX_PLACES);
    mailbox->n_fetched++;
    return CUDA_CALL(mailbox->device->driver, CUDA_TO("fetch numbers of a step"), status, cuMemcpyDtoHAsync,
                     mailbox->places[i], mailbox->at, mailbox->n_bytes, mailbox->device->work) &&
           mark_place(mailbox, i, status);
}

bool cuda_mailbox_take(CudaMailbox *mailbox, void *bytes, Status *status) {
    assert(mailbox->n_fetched > 0);
    unsigned i = (mailbox->next + CUDA_MAILBOX_PLACES - mailbox->n_fetched) % CUDA_MAILBOX_PLACES;
    if (!wait_for_place(mailbox, i, status))
        return false;
    mailbox->n_fetched--;
    memcpy(bytes, mailbox->places[i], mailbox->n_bytes);
    return true;
}
