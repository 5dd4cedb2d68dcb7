#include "runtime/cpu.h"

#include <omp.h>
#include <stddef.h>
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

/* About ten microseconds: longer than the gap between two regions, shorter than what another process would miss. */
static const char spin_count[] = "10000";

void cpu_limit_spinning(char **argv) {
    if (getenv("OMP_WAIT_POLICY") || getenv("GOMP_SPINCOUNT"))
        return;
    if (setenv("GOMP_SPINCOUNT", spin_count, 0) == 0)
        execv("/proc/self/exe", argv);
}

int cpu_set_threads(int64_t n) {
    if (n > 0)
        omp_set_num_threads((int)n);
    return omp_get_max_threads();
}
