/* What a run says: lines on standard output, and with --log one JSON object a line for programs.

   On a terminal the newest step is a live line at the bottom and every so many steps one stays; in a pipe each step is
   a line. Warnings go to standard error. Nothing here can fail a run: a log that can't be written is warned about once.
 */
#ifndef MOEC_RUNTIME_LOG_H
#define MOEC_RUNTIME_LOG_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#include "runtime/json.h"
#include "runtime/status.h"

typedef struct {
    FILE *out;  /* NULL: quiet */
    FILE *json; /* NULL: no --log */
    const char *json_path;
    bool is_live, has_color;
    bool is_line_open; /* the live line stands on the terminal */
    bool has_json_failed;
} Log;

/* `json_path` may be NULL; `appends`: to what stands there, on a line of its own. */
bool log_open(Log *log, bool is_quiet, const char *json_path, bool appends, Status *status);
void log_close(Log *log);

/* "label     text" on a line of its own. */
void log_line(Log *log, const char *label, const char *format, ...) __attribute__((format(printf, 3, 4)));
void log_warning(Log *log, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* Shown at the bottom of a terminal until the next line; nothing elsewhere. */
void log_live(Log *log, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* The end of the live line: nothing is shown at the bottom. */
void log_clear(Log *log);

/* Takes over `object` (NULL: out of memory, nothing is written). */
void log_json(Log *log, json_t *object);

/* A finished step. */
typedef struct {
    int64_t step, n_steps;             /* steps done, of how many */
    int64_t n_tokens;                  /* of all steps so far */
    double loss, nll, balance, z_loss; /* NAN: the model has none */
    double grad_norm, lr, seconds;
    double tokens_per_second, flops_per_second;
    double full_flops_per_second; /* with attention's squares counted in full */
    double ceiling;               /* FLOP/s; 0: not known */
    bool has_peak;                /* that is a GPU's peak, and shares of it are MFU */
    double remaining_seconds;
    uint64_t memory_bytes;
    const double *load; /* [n_layers]: rows of the expert that got most, over the mean */
    int64_t n_layers;
} StepReport;

void log_step(Log *log, const StepReport *report);

#endif
