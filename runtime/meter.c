#include "runtime/meter.h"

#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "runtime/blas.h"
#include "runtime/gemm.h"

double meter_clock(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}

enum { PROBE_SIZE = 1024 };
/* Long enough for the clock to rise and, on a shared machine, for one run that nothing disturbs. */
static const double PROBE_SECONDS = 0.5;

typedef void Probe(const float *a, const float *b, float *c);

static void probe_own(MoecGemmPrecision precision, const void *a, const void *b, float *c) {
    MoecGemm gemm = {.precision = precision, .n_groups = 1, .n_rows = PROBE_SIZE, .n_cols = PROBE_SIZE};
    gemm.n_products = gemm.n_results = 1;
    gemm.products[0] = (MoecGemmProduct){.lhs = {.data = a, .stride = PROBE_SIZE, .k_stride = 1},
                                         .rhs = {.data = b, .stride = PROBE_SIZE, .k_stride = 1},
                                         .k = PROBE_SIZE};
    gemm.results[0] = (MoecGemmResult){.out = c, .stride = PROBE_SIZE};
    moec_gemm(&gemm);
}

static void probe_f32(const float *a, const float *b, float *c) {
    probe_own(MOEC_GEMM_F32, a, b, c);
}

static void probe_bf16(const float *a, const float *b, float *c) {
    probe_own(MOEC_GEMM_BF16, a, b, c);
}

static void probe_blas(const float *a, const float *b, float *c) {
    blas_matmul(false, true, PROBE_SIZE, PROBE_SIZE, PROBE_SIZE, 1.0f, a, PROBE_SIZE, b, PROBE_SIZE, 0.0f, c,
                PROBE_SIZE);
}

/* FLOP/s of the best run, the probes taking turns. */
static double best_rate(Probe *const *probes, int n_probes, const float *a, const float *b, float *c) {
    double best = 0.0, start = meter_clock();
    int turn = 0;
    for (double begin = start; begin - start < PROBE_SECONDS || turn < n_probes; begin = meter_clock()) {
        probes[turn++ % n_probes](a, b, c);
        double rate = 2.0 * PROBE_SIZE * PROBE_SIZE * PROBE_SIZE / (meter_clock() - begin);
        best = fmax(best, rate);
    }
    return best;
}

static double measure(Probe *const *probes, int n_probes) {
    size_t n = (size_t)PROBE_SIZE * PROBE_SIZE;
    float *a = malloc(n * sizeof *a), *b = malloc(n * sizeof *b), *c = malloc(n * sizeof *c);
    double rate = 0.0;
    if (a && b && c) {
        for (size_t i = 0; i < n; i++) { /* as bf16, two numbers */
            uint32_t bits = 0x3f803f80 + (uint32_t)(i % 7) * 0x00010003;
            memcpy(&a[i], &bits, sizeof bits);
            b[i] = a[i];
        }
        rate = best_rate(probes, n_probes, a, b, c);
    }
    free(a), free(b), free(c);
    return rate;
}

double meter_ceiling(void) {
    return measure((Probe *const[]){probe_f32, probe_blas}, 2);
}

double meter_ceiling_bf16(void) {
    return measure((Probe *const[]){probe_bf16}, 1);
}

/* Of each of two blocks. */
enum { COPY_BYTES = 128 << 20, COPY_PIECES = 64 };

static double probe_copy(char *to, const char *from) {
    double best = 0.0, start = meter_clock();
    for (double begin = start; begin - start < PROBE_SECONDS; begin = meter_clock()) {
#pragma omp parallel for schedule(static)
        for (size_t i = 0; i < COPY_PIECES; i++)
            memcpy(to + i * (COPY_BYTES / COPY_PIECES), from + i * (COPY_BYTES / COPY_PIECES),
                   COPY_BYTES / COPY_PIECES);
        best = fmax(best, 2.0 * COPY_BYTES / (meter_clock() - begin));
    }
    return best;
}

double meter_bandwidth(void) {
    char *to = malloc(COPY_BYTES), *from = malloc(COPY_BYTES);
    double rate = 0.0;
    if (to && from) {
        memset(from, 1, COPY_BYTES);
        rate = probe_copy(to, from);
    }
    free(to), free(from);
    return rate;
}

/* Three digits of value / step^k and the k-th prefix. */
static const char *print_scaled(char *text, size_t n, double value, double step, const char *const *prefixes) {
    int k = 0;
    while (fabs(value) >= 0.9995 * step && prefixes[k + 1]) {
        value /= step;
        k++;
    }
    int decimals = k == 0 && value == floor(value) ? 0 : fabs(value) < 9.995 ? 2 : fabs(value) < 99.95 ? 1 : 0;
    snprintf(text, n, "%.*f%s", decimals, value, prefixes[k]);
    return text;
}

const char *meter_count(char *text, size_t n, double value) {
    static const char *const prefixes[] = {"", " k", " M", " G", " T", " P", NULL};
    return print_scaled(text, n, value, 1000.0, prefixes);
}

const char *meter_bytes(char *text, size_t n, double value) {
    static const char *const prefixes[] = {" B", " KiB", " MiB", " GiB", " TiB", NULL};
    return print_scaled(text, n, value, 1024.0, prefixes);
}

const char *meter_duration(char *text, size_t n, double seconds) {
    int64_t whole = seconds < 3.6e9 ? (int64_t)(seconds + 0.5) : 3600000000;
    int hours = (int)(whole / 3600), minutes = (int)(whole / 60 % 60), rest = (int)(whole % 60);
    if (hours > 0)
        snprintf(text, n, "%d:%02d:%02d", hours, minutes, rest);
    else
        snprintf(text, n, "%d:%02d", minutes, rest);
    return text;
}
