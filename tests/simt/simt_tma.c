/* Tiles of tensors (cp.async.bulk.tensor): those that are loaded come when their barrier is waited for, those that are
   stored are read when their thread waits for that. PTX ISA, "Tensors": out-of-bounds elements, swizzling. */
#include <stdlib.h>
#include <string.h>

#include "tests/simt/simt_internal.h"
#include "tests/simt/simt_tensor_map.h"

enum { MAX_INDICES = 4 };

struct SimtTensorBox {
    SimtTensorMap map;
    size_t offset; /* in shared memory */
    int at[MAX_INDICES];
    int line;
};

void simt_free_box(SimtTensorBox *box) {
    free(box);
}

static size_t row_bytes(const SimtTensorMap *map) {
    return (size_t)map->box[0] * map->element_bytes;
}

static int n_rows(const SimtTensorMap *map) {
    int n = 1;
    for (int i = 1; i < map->rank; i++)
        n *= map->box[i];
    return n;
}

/* Where a byte of the box is in shared memory: 16 bytes at a time change places with those of other rows. */
static size_t place(const SimtTensorBox *box, size_t byte) {
    size_t offset = box->offset + byte;
    return offset ^ (offset >> 3 & (box->map.swizzle_bytes == 0 ? 0u : box->map.swizzle_bytes - (size_t)SIMT_CHUNK));
}

/* Of a row of the box, the columns that the tensor has, and where they are; n 0: none. */
typedef struct {
    char *address; /* of the first */
    int first, n;
} Row;

static Row row_of(const SimtTensorBox *box, int row) {
    const SimtTensorMap *map = &box->map;
    uint64_t address = map->address;
    for (int i = 1; i < map->rank; i++) {
        int64_t index = box->at[i] + row % map->box[i];
        row /= map->box[i];
        if (index < 0 || index >= (int64_t)map->extents[i])
            return (Row){.n = 0};
        address += (uint64_t)index * map->strides[i - 1];
    }
    int64_t x = box->at[0], first = x < 0 ? -x : 0, end = (int64_t)map->extents[0] - x;
    end = end < map->box[0] ? end : map->box[0];
    if (first >= end)
        return (Row){.n = 0};
    return (Row){(char *)(uintptr_t)address + (x + first) * map->element_bytes, (int)first, (int)(end - first)};
}

/* ---- What both need ---------------------------------------------------------------------------------------------- */

void simt_tma_prefetch(const void *map, int line) {
    SimtTensorMap encoded;
    simt_keep_clocks();
    simt_use_chunks();
    if ((uintptr_t)map % 64 != 0)
        simt_fault("moec_tma_prefetch of line %d: the map's address is no multiple of 64", line);
    simt_check(map, SIMT_MAP_BYTES, false);
    memcpy(&encoded, map, sizeof encoded);
    if (encoded.mark != SIMT_MAP_MARK)
        simt_fault("moec_tma_prefetch of line %d: there is no map", line);
    if (simt.n_maps == SIMT_MAX_BARRIERS)
        simt_fault("moec_tma_prefetch of line %d: the simulator has no more than %d maps", line, SIMT_MAX_BARRIERS);
    simt.maps[simt.n_maps] = map;
    simt.map_accesses[simt.n_maps++] = simt_access_now();
}

static bool is_prefetched(const void *map) {
    for (int i = 0; i < simt.n_maps; i++) {
        if (simt.maps[i] == map && (!simt.is_checked || simt_knows_access(&simt.map_accesses[i])))
            return true;
    }
    return false;
}

static SimtTensorBox box_new(const void *shared, const void *map, int rank, const int *at, const char *what, int line) {
    SimtTensorBox box = {.line = line};
    simt_keep_clocks();
    simt_use_chunks();
    if (!is_prefetched(map))
        simt_fault("%s of line %d: no thread that this one knows of has called moec_tma_prefetch of the map", what,
                   line);
    memcpy(&box.map, map, sizeof box.map);
    if (box.map.rank != rank)
        simt_fault("%s of line %d: of %d indices, and the tensor has %d", what, line, rank, box.map.rank);
    memcpy(box.at, at, (size_t)rank * sizeof *at);
    size_t n_bytes = row_bytes(&box.map) * (size_t)n_rows(&box.map), n_swizzled = box.map.swizzle_bytes;
    box.offset = simt_shared_offset(shared, n_bytes);
    if (box.offset == SIZE_MAX)
        simt_fault("%s of line %d: a tile of %zu bytes does not fit in shared memory there", what, line, n_bytes);
    if (n_swizzled > 0 && row_bytes(&box.map) != n_swizzled)
        simt_fault("%s of line %d: rows of %zu bytes, of which %zu are swizzled", what, line, row_bytes(&box.map),
                   n_swizzled);
    size_t alignment = n_swizzled > 0 ? n_swizzled * 8 : 128;
    if (box.offset % alignment != 0)
        simt_fault("%s of line %d: the tile's byte %zu of shared memory is no multiple of %zu", what, line, box.offset,
                   alignment);
    return box;
}

/* Accesses by the running thread, to what of the box the tensor has. */
static void check_global(const SimtTensorBox *box, bool is_write) {
    for (int i = 0; i < n_rows(&box->map) && simt.is_checked; i++) {
        Row row = row_of(box, i);
        simt_check(row.address, (size_t)row.n * box->map.element_bytes, is_write);
    }
}

static size_t box_bytes(const SimtTensorBox *box) {
    return row_bytes(&box->map) * (size_t)n_rows(&box->map);
}

static SimtTensorBox *copy_of(const SimtTensorBox *box) {
    SimtTensorBox *copy = malloc(sizeof *copy);
    *copy = *box;
    return copy;
}

/* ---- Loads ------------------------------------------------------------------------------------------------------- */

static void begin_load(const SimtTensorBox *box, const SimtBarrier *barrier) {
    SimtClocks clocks = simt.keeps_clocks ? simt_clocks_of(simt.current->thread) : (SimtClocks){NULL, NULL};
    for (size_t i = 0; i < box_bytes(box); i += SIMT_CHUNK) {
        size_t offset = box->offset + i;
        SimtChunk *chunk = &simt.chunks[offset / SIMT_CHUNK];
        if (simt.is_checked)
            simt_check_async_write(offset, &clocks, "moec_tma_load", box->line);
        chunk->loader = simt_barrier_agent(barrier->number);
        chunk->load_clock = barrier->phase + 1;
        chunk->load_line = box->line;
        chunk->is_generic = false;
        chunk->is_coming = true;
        uint16_t *poisoned = (uint16_t *)(void *)simt_shared_at(offset, SIMT_CHUNK);
        for (int j = 0; j < SIMT_CHUNK / 2; j++)
            poisoned[j] = SIMT_POISON;
    }
}

void simt_tma_load(void *shared, const void *map, int rank, const int *at, uint64_t *address, int line) {
    SimtBarrier *barrier = simt_find_barrier(address, "moec_tma_load", line);
    if (!barrier->is_fenced)
        simt_fault("moec_tma_load of line %d: no moec_barrier_init_fence follows the moec_barrier_init of line %d",
                   line, barrier->line);
    const SimtTensorBox box = box_new(shared, map, rank, at, "moec_tma_load", line);
    check_global(&box, false);
    begin_load(&box, barrier);
    simt_add_transfer(&(SimtTransfer){.barrier = barrier,
                                      .box = copy_of(&box),
                                      .thread = simt.current->thread,
                                      .line = line,
                                      .phase = barrier->phase});
}

int64_t simt_land_box(const SimtTensorBox *box) {
    size_t n_bytes = row_bytes(&box->map), element = box->map.element_bytes;
    char *bytes = malloc(n_bytes);
    for (int i = 0; i < n_rows(&box->map); i++) {
        Row row = row_of(box, i);
        memset(bytes, 0, n_bytes);
        if (row.n > 0)
            memcpy(bytes + (size_t)row.first * element, row.address, (size_t)row.n * element);
        for (size_t j = 0; j < n_bytes; j += SIMT_CHUNK) {
            size_t offset = place(box, (size_t)i * n_bytes + j);
            memcpy(simt_shared_at(offset, SIMT_CHUNK), bytes + j, SIMT_CHUNK);
            simt.chunks[offset / SIMT_CHUNK].is_coming = false;
        }
    }
    free(bytes);
    return (int64_t)box_bytes(box);
}

/* ---- Stores ------------------------------------------------------------------------------------------------------ */

/* The threads that store are few: each is an agent of its own. */
static int16_t agent_of_storer(SimtFiber *fiber, int line) {
    if (fiber->store_agent == 0 && simt.n_storers == SIMT_MAX_STORERS)
        simt_fault("moec_tma_store of line %d: more than %d threads store tiles", line, SIMT_MAX_STORERS);
    if (fiber->store_agent == 0)
        fiber->store_agent = simt_storer_agent(simt.n_storers++);
    return fiber->store_agent;
}

void simt_tma_store(const void *map, const void *shared, int rank, const int *at, int line) {
    SimtFiber *own = simt.current;
    const SimtTensorBox box = box_new(shared, map, rank, at, "moec_tma_store", line);
    SimtClocks clocks = simt.keeps_clocks ? simt_clocks_of(own->thread) : (SimtClocks){NULL, NULL};
    int16_t agent = agent_of_storer(own, line);
    own->store_serial++;
    for (size_t i = 0; i < box_bytes(&box); i += SIMT_CHUNK) {
        SimtChunk *chunk = &simt.chunks[(box.offset + i) / SIMT_CHUNK];
        if (simt.is_checked)
            simt_check_async_read(box.offset + i, &clocks, "moec_tma_store", line);
        chunk->storer = agent;
        chunk->store_clock = own->store_serial;
        chunk->store_line = line;
    }
    own->stores = simt_grow(own->stores, own->n_stores, &own->stores_capacity, sizeof *own->stores);
    own->stores[own->n_stores++] = (SimtStore){copy_of(&box), own->store_group, own->store_serial};
}

void simt_tma_store_commit(int line) {
    (void)line;
    simt.current->store_group++;
}

static void land_store(const SimtTensorBox *box) {
    size_t n_bytes = row_bytes(&box->map), element = box->map.element_bytes;
    check_global(box, true);
    char *bytes = malloc(n_bytes);
    for (int i = 0; i < n_rows(&box->map); i++) {
        Row row = row_of(box, i);
        for (size_t j = 0; j < n_bytes; j += SIMT_CHUNK)
            memcpy(bytes + j, simt_shared_at(place(box, (size_t)i * n_bytes + j), SIMT_CHUNK), SIMT_CHUNK);
        if (row.n > 0)
            memcpy(row.address, bytes + (size_t)row.first * element, (size_t)row.n * element);
    }
    free(bytes);
}

void simt_tma_store_wait(int n, int line) {
    SimtFiber *own = simt.current;
    size_t n_done = 0;
    if (n < 0)
        simt_fault("MOEC_TMA_STORE_WAIT of line %d: for all but %d", line, n);
    while (n_done < own->n_stores && (int64_t)own->stores[n_done].group < (int64_t)own->store_group - n) {
        SimtStore *store = &own->stores[n_done++];
        land_store(store->box);
        simt_order_learn(own->thread, own->store_agent, store->serial);
        simt_free_box(store->box);
    }
    own->n_stores -= n_done;
    if (n_done > 0)
        memmove(own->stores, own->stores + n_done, own->n_stores * sizeof *own->stores);
}

void simt_check_stores(void) {
    if (simt.current->n_stores > 0)
        simt_fault(
            "ends before moec_tma_store of line %d has read shared memory: MOEC_TMA_STORE_WAIT(0) is missing, or "
            "moec_tma_store_commit",
            simt.current->stores[0].box->line);
}

void simt_end_stores(SimtFiber *fiber) {
    for (size_t i = 0; i < fiber->n_stores; i++)
        simt_free_box(fiber->stores[i].box);
    free(fiber->stores);
    fiber->stores = NULL;
    fiber->n_stores = fiber->stores_capacity = 0;
}
