#include "runtime/cpu.h"

#include <limits.h>
#include <omp.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

typedef struct {
    const char *name;
    bool is_there;
} Feature;

/* Those that change the code which compilers emit for loops over floats and integers. */
#define CPU_FEATURES(ROW)                                                                                              \
    ROW("sse3")                                                                                                        \
    ROW("ssse3")                                                                                                       \
    ROW("sse4.1")                                                                                                      \
    ROW("sse4.2")                                                                                                      \
    ROW("popcnt")                                                                                                      \
    ROW("avx")                                                                                                         \
    ROW("avx2")                                                                                                        \
    ROW("fma")                                                                                                         \
    ROW("bmi")                                                                                                         \
    ROW("bmi2")                                                                                                        \
    ROW("lzcnt")                                                                                                       \
    ROW("f16c")                                                                                                        \
    ROW("movbe")                                                                                                       \
    ROW("avx512f")                                                                                                     \
    ROW("avx512cd")                                                                                                    \
    ROW("avx512bw")                                                                                                    \
    ROW("avx512dq")                                                                                                    \
    ROW("avx512vl")                                                                                                    \
    ROW("avx512vnni")                                                                                                  \
    ROW("avx512bf16")

static bool find_feature(const char *name, size_t length, bool *is_there) {
    const Feature features[] = {
#if defined __x86_64__
#define CPU_ROW(name) {name, __builtin_cpu_supports(name) != 0},
        CPU_FEATURES(CPU_ROW)
#undef CPU_ROW
#endif
            {"", false},
    };
    for (const Feature *feature = features; feature->name[0]; feature++) {
        if (strlen(feature->name) == length && strncmp(feature->name, name, length) == 0) {
            *is_there = feature->is_there;
            return true;
        }
    }
    return false;
}

bool cpu_has(const char *features) {
    for (const char *name = features; *name; name += strspn(name, " ")) {
        size_t length = strcspn(name, " ");
        bool is_there;
        if (!find_feature(name, length, &is_there) || !is_there)
            return false;
        name += length;
    }
    return true;
}

bool cpu_check(const char *features, Status *status) {
    for (const char *name = features; *name; name += strspn(name, " ")) {
        size_t length = strcspn(name, " ");
        bool is_there;
        if (!find_feature(name, length, &is_there))
            return status_fail(status, STATUS_INTERNAL,
                               "the plan needs the processor feature \"%.*s\", which the "
                               "runtime does not know; please report this",
                               (int)length, name);
        if (!is_there)
            return status_fail(status, STATUS_SYSTEM,
                               "this executable is compiled for a processor with %.*s, which this one lacks; build it "
                               "on this machine, or for any with `moec build --march x86-64-v2`",
                               (int)length, name);
        name += length;
    }
    return true;
}

/* Each is one pause instruction, 40 to 140 cycles: together 10 microseconds or so, longer than the gap between two
   regions. With 10000, a step of a small model takes five times as long beside one busy process. */
static const char spin_count[] = "500";

void cpu_limit_spinning(char **argv) {
    if (getenv("OMP_WAIT_POLICY") || getenv("GOMP_SPINCOUNT"))
        return;
    if (setenv("GOMP_SPINCOUNT", spin_count, 0) == 0)
        execv("/proc/self/exe", argv);
}

/* The numbers at the start of DIR/NAME; how many there were. */
static int read_numbers(const char *folder, const char *name, long long *a, long long *b) {
    char path[256];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    FILE *file = fopen(path, "r");
    int n = file ? fscanf(file, "%lld %lld", a, b) : 0;
    if (file)
        fclose(file);
    return n;
}

int cpu_group_cores(const char *folder) {
    long long quota, period, none;
    bool is_limited = read_numbers(folder, "cpu.max", &quota, &period) == 2 || /* "max 100000": no number is first */
                      (read_numbers(folder, "cpu.cfs_quota_us", &quota, &none) == 1 &&
                       read_numbers(folder, "cpu.cfs_period_us", &period, &none) == 1);
    if (!is_limited || quota <= 0 || period <= 0 || quota / period >= INT_MAX)
        return 0;
    return (int)(quota / period + (quota % period != 0));
}

int cpu_set_threads(int64_t n) {
    static const char *const folders[] = {"/sys/fs/cgroup", "/sys/fs/cgroup/cpu"};
    if (n > 0)
        omp_set_num_threads((int)n);
    for (int i = 0; i < 2 && n == 0 && !getenv("OMP_NUM_THREADS"); i++) {
        int n_cores = cpu_group_cores(folders[i]);
        if (n_cores > 0 && n_cores < omp_get_max_threads())
            omp_set_num_threads(n_cores);
    }
    return omp_get_max_threads();
}
