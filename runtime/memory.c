#include "runtime/memory.h"

#include <assert.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

enum { HUGE_PAGE = 2 << 20, SMALL_PAGE = 4096, PATH_BYTES = 256 };

static const char *const space_names[MOEC_SPACE_COUNT] = {
    [MOEC_SPACE_WEIGHT] = "weights",         [MOEC_SPACE_GRAD] = "gradients",    [MOEC_SPACE_MOMENT1] = "first moments",
    [MOEC_SPACE_MOMENT2] = "second moments", [MOEC_SPACE_ARENA] = "activations",
};

/* ---- What there is ---------------------------------------------------------------------------------------------- */

static uint64_t least(uint64_t a, uint64_t b) {
    return a < b ? a : b;
}

/* The number in a file that holds nothing else; UINT64_MAX for "max", or without such a file. */
static uint64_t number_in(const char *path) {
    FILE *file = fopen(path, "r");
    uint64_t value;
    if (!file || fscanf(file, "%" SCNu64, &value) != 1)
        value = UINT64_MAX;
    if (file)
        fclose(file);
    return value;
}

/* Bytes of a group's use that are copies of files, which go when the memory is wanted: a checkpoint that was just
   copied fills a group to its limit. */
static uint64_t cached_bytes(const char *path) {
    FILE *file = fopen(path, "r");
    char key[64];
    uint64_t value, sum = 0;
    while (file && fscanf(file, "%63s %" SCNu64, key, &value) == 2) {
        if (strcmp(key, "active_file") == 0 || strcmp(key, "inactive_file") == 0)
            sum += value;
    }
    if (file)
        fclose(file);
    return sum;
}

uint64_t memory_group_available(const char *folder, const char *limit_name, const char *used_name) {
    char limit_path[PATH_BYTES], used_path[PATH_BYTES], stat_path[PATH_BYTES];
    snprintf(limit_path, sizeof limit_path, "%s/%s", folder, limit_name);
    snprintf(used_path, sizeof used_path, "%s/%s", folder, used_name);
    snprintf(stat_path, sizeof stat_path, "%s/memory.stat", folder);
    uint64_t limit = number_in(limit_path), used = number_in(used_path), cached = cached_bytes(stat_path);
    if (limit == UINT64_MAX || used == UINT64_MAX)
        return UINT64_MAX;
    used -= least(used, cached);
    return limit > used ? limit - used : 0;
}

static uint64_t machine_available(void) {
    FILE *file = fopen("/proc/meminfo", "r");
    if (!file)
        return UINT64_MAX;
    char line[256];
    uint64_t kibibytes = UINT64_MAX;
    while (fgets(line, sizeof line, file) && sscanf(line, "MemAvailable: %" SCNu64 " kB", &kibibytes) != 1)
        continue;
    fclose(file);
    return kibibytes == UINT64_MAX ? UINT64_MAX : kibibytes * 1024;
}

/* Of the group that is mounted at the root, as containers see theirs. */
uint64_t memory_available(void) {
    uint64_t version2 = memory_group_available("/sys/fs/cgroup", "memory.max", "memory.current");
    uint64_t version1 =
        memory_group_available("/sys/fs/cgroup/memory", "memory.limit_in_bytes", "memory.usage_in_bytes");
    return least(machine_available(), least(version1, version2));
}

/* ---- Taking it -------------------------------------------------------------------------------------------------- */

/* Blocks are mapped with room to start at a huge page. */
static uint64_t mapped_bytes(uint64_t n_bytes) {
    return (n_bytes + 2 * HUGE_PAGE - 1) / HUGE_PAGE * HUGE_PAGE;
}

static uint64_t round_up(uint64_t n, uint64_t step) {
    return (n + step - 1) / step * step;
}

/* Pages go to the memory of the processor that touches them first: the thread that will work on them. */
static void touch(char *base, uint64_t n_bytes) {
    int64_t n_pages = (int64_t)round_up(n_bytes, SMALL_PAGE) / SMALL_PAGE;
#pragma omp parallel for schedule(static)
    for (int64_t page = 0; page < n_pages; page++)
        ((volatile char *)base)[page * SMALL_PAGE] = 0;
}

static bool take(Memory *memory, int space, uint64_t n_bytes, Status *status) {
    uint64_t n_mapped = mapped_bytes(n_bytes + 1);
    char *block = mmap(NULL, n_mapped, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (block == MAP_FAILED)
        return status_fail_errno(status, "cannot take %.2f GiB of memory for %s", (double)n_bytes / 0x1p30,
                                 space_names[space]);
    /* The ends that are not needed go back, so that the base and the length say all there is. */
    char *base = (char *)round_up((uint64_t)(uintptr_t)block, HUGE_PAGE);
    uint64_t kept = round_up(n_bytes + 1, SMALL_PAGE), before = (uint64_t)(base - block);
    if (before > 0)
        munmap(block, before);
    if (n_mapped - before > kept)
        munmap(base + kept, n_mapped - before - kept);
    if (!memory->gpu) {
        madvise(base, kept, MADV_HUGEPAGE); /* only faster where it works */
        touch(base, n_bytes);
    }
    memory->spaces[space] = base;
    memory->n_bytes[space] = n_bytes;
    return true;
}

static bool check_available(const uint64_t n_bytes[MOEC_SPACE_COUNT], Status *status) {
    uint64_t available = memory_available(), n_needed = 0;
    char parts[256] = "";
    size_t length = 0;
    for (int space = 0; space < MOEC_SPACE_COUNT; space++) {
        n_needed += n_bytes[space];
        if (n_bytes[space] > 0)
            length += (size_t)snprintf(parts + length, sizeof parts - length, "%s%s %.2f", length ? ", " : "",
                                       space_names[space], (double)n_bytes[space] / 0x1p30);
    }
    if (n_needed <= available)
        return true;
    return status_fail(status, STATUS_SYSTEM,
                       "needs %.2f GiB of memory (%s), %.2f GiB are available; build with a smaller micro-batch "
                       "(-D) or a shorter sequence, or use a larger machine",
                       (double)n_needed / 0x1p30, parts, (double)available / 0x1p30);
}

bool memory_open(Memory *memory, const uint64_t n_bytes[MOEC_SPACE_COUNT], struct Gpu *gpu, Status *status) {
    *memory = (Memory){.gpu = gpu};
    if (!gpu && !check_available(n_bytes, status))
        return false;
    for (int space = 0; space < MOEC_SPACE_COUNT; space++) {
        if (!take(memory, space, n_bytes[space], status)) {
            memory_close(memory);
            return false;
        }
    }
    return true;
}

void memory_close(Memory *memory) {
    for (int space = 0; space < MOEC_SPACE_COUNT; space++) {
        if (memory->spaces[space])
            munmap(memory->spaces[space], round_up(memory->n_bytes[space] + 1, SMALL_PAGE));
    }
    *memory = (Memory){0};
}

uint64_t memory_bytes(const Memory *memory) {
    uint64_t sum = 0;
    for (int space = 0; space < MOEC_SPACE_COUNT; space++)
        sum += memory->n_bytes[space];
    return sum;
}

void *memory_at(const Memory *memory, MoecAddress address) {
    if (address.space == MOEC_PACKED)
        return memory->packed ? memory->packed[address.offset] : NULL;
    assert(address.space < MOEC_SPACE_COUNT && memory->spaces[address.space]);
    return (char *)memory->spaces[address.space] + address.offset;
}
