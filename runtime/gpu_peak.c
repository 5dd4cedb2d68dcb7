/* What devices can do at most, by their data sheets. */
#include <string.h>

#include "runtime/gpu_internal.h"

/* TFLOP/s of dense matrix products with sums of f32, at the boost clock: of bf16 by tensor cores, of f32 without. */
typedef struct {
    const char *name; /* is part of the device's name. More special ones come first */
    double bf16, f32;
} Peak;

static const Peak peaks[] = {
    {"H100 PCIe", 756.5, 51.2}, {"H100 NVL", 835.5, 60.0}, {"H100", 989.4, 66.9}, {"H800", 989.4, 66.9},
    {"GH200", 989.4, 66.9},     {"H200 NVL", 835.5, 60.0}, {"H200", 989.4, 66.9}, {"H20", 148.0, 44.0},
    {"GB200", 2500.0, 80.0},    {"B200", 2250.0, 75.0},    {"A100", 312.0, 19.5}, {"A800", 312.0, 19.5},
    {"L40S", 362.0, 91.6},      {"L40", 181.0, 90.5},      {"L4", 121.0, 30.3},   {"RTX 4090", 165.2, 82.6},
    {"RTX 3090", 71.0, 35.6},
};

double gpu_peak(const Gpu *gpu, const char *precision) {
    bool is_bf16 = strcmp(precision, "bf16") == 0;
    if (strstr(gpu->device.name, "MIG")) /* a slice of the device that the name begins with */
        return 0.0;
    for (size_t i = 0; i < sizeof peaks / sizeof *peaks; i++) {
        if (strstr(gpu->device.name, peaks[i].name))
            return 1e12 * (is_bf16 ? peaks[i].bf16 : peaks[i].f32);
    }
    return 0.0;
}
