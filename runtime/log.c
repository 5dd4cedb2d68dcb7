#include "runtime/log.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <math.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "runtime/meter.h"

enum { LINE_BYTES = 512, KEPT_STEPS = 20 /* of the live line, that stay */ };

/* Whether a file's last line has no end: a run was killed while it wrote. */
static bool is_torn(const char *path) {
    struct stat info;
    if (stat(path, &info) != 0 || !S_ISREG(info.st_mode) || info.st_size == 0)
        return false;
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return false;
    char last;
    bool is_read = pread(fd, &last, 1, info.st_size - 1) == 1;
    close(fd);
    return is_read && last != '\n';
}

bool log_open(Log *log, bool is_quiet, const char *json_path, bool appends, Status *status) {
    const char *no_color = getenv("NO_COLOR"), *terminal = getenv("TERM");
    bool is_terminal = !is_quiet && isatty(STDOUT_FILENO) && terminal && strcmp(terminal, "dumb") != 0;
    *log = (Log){.out = is_quiet ? NULL : stdout,
                 .json_path = json_path,
                 .is_live = is_terminal,
                 .has_color = is_terminal && !(no_color && *no_color)};
    if (!json_path)
        return true;
    log->json = fopen(json_path, appends ? "ae" : "we");
    if (!log->json)
        return status_fail_errno(status, "--log %s: cannot write", json_path);
    if (appends && is_torn(json_path))
        fputc('\n', log->json);
    return true;
}

static void warn_json(Log *log) {
    if (!log->has_json_failed)
        log_warning(log, "--log %s: cannot write: %s; the run goes on without", log->json_path, strerror(errno));
    log->has_json_failed = true;
}

void log_close(Log *log) {
    log_clear(log);
    if (log->out)
        fflush(log->out);
    if (log->json && fclose(log->json) != 0)
        warn_json(log);
    log->json = NULL;
}

/* ---- Lines ------------------------------------------------------------------------------------------------------ */

void log_clear(Log *log) {
    if (log->is_line_open)
        fputs("\r\033[K", log->out);
    log->is_line_open = false;
}

void log_line(Log *log, const char *label, const char *format, ...) {
    if (!log->out)
        return;
    log_clear(log);
    fprintf(log->out, log->has_color ? "\033[1m%-9s\033[0m " : "%-9s ", label);
    va_list args;
    va_start(args, format);
    vfprintf(log->out, format, args);
    va_end(args);
    fputc('\n', log->out);
    fflush(log->out);
}

void log_warning(Log *log, const char *format, ...) {
    log_clear(log);
    if (log->out)
        fflush(log->out);
    fputs(log->has_color && isatty(STDERR_FILENO) ? "\033[33mwarning:\033[0m " : "warning: ", stderr);
    va_list args;
    va_start(args, format);
    vfprintf(stderr, format, args);
    va_end(args);
    fputc('\n', stderr);
}

/* Columns that a live line may fill. */
static int terminal_columns(void) {
    struct winsize size;
    return ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 1 ? size.ws_col - 1 : 79;
}

void log_live(Log *log, const char *format, ...) {
    if (!log->is_live)
        return;
    char text[LINE_BYTES];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    fprintf(log->out, "\r%.*s\033[K", terminal_columns(), text);
    fflush(log->out);
    log->is_line_open = true;
}

/* ---- Steps ------------------------------------------------------------------------------------------------------ */

/* A text that grows at its end. */
typedef struct {
    char bytes[LINE_BYTES];
    size_t length;
} Line;

static void append(Line *line, const char *format, ...) __attribute__((format(printf, 2, 3)));

static void append(Line *line, const char *format, ...) {
    size_t room = sizeof line->bytes - line->length;
    va_list args;
    va_start(args, format);
    int length = vsnprintf(line->bytes + line->length, room, format, args);
    va_end(args);
    line->length += (size_t)length < room ? (size_t)length : room - 1;
}

static double worst_load(const StepReport *report) {
    double worst = 0.0;
    for (int64_t i = 0; i < report->n_layers; i++)
        worst = fmax(worst, report->load[i]);
    return worst;
}

static void append_speed(Line *line, const StepReport *report) {
    char text[32];
    double ms = 1e3 * report->seconds;
    append(line, ms < 10.0 ? "  %4.1f ms" : ms < 1e4 ? "  %4.0f ms" : "  %4.1f s", ms < 1e4 ? ms : report->seconds);
    append(line, "  %6s tok/s", meter_count(text, sizeof text, floor(report->tokens_per_second)));
    append(line, "  %6sFLOP/s", meter_count(text, sizeof text, report->flops_per_second));
    if (report->ceiling > 0.0 && report->has_peak)
        append(line, " (MFU %.1f%%, %.1f%% with full attention)", 100.0 * report->flops_per_second / report->ceiling,
               100.0 * report->full_flops_per_second / report->ceiling);
    else if (report->ceiling > 0.0)
        append(line, " (%.0f%%)", 100.0 * report->flops_per_second / report->ceiling);
    if (report->step < report->n_steps)
        append(line, "  %s left", meter_duration(text, sizeof text, report->remaining_seconds));
}

static int digits_of(int64_t n) {
    return snprintf(NULL, 0, "%" PRId64, n);
}

static void print_step(Line *line, const StepReport *report) {
    append(line, "%*" PRId64 "/%" PRId64 "  loss %.4f", digits_of(report->n_steps), report->step, report->n_steps,
           report->loss);
    if (!isnan(report->balance) || !isnan(report->z_loss))
        append(line, "  nll %.4f", report->nll);
    if (!isnan(report->balance))
        append(line, "  balance %.3f", report->balance);
    if (report->n_layers > 0)
        append(line, "  load %.2f", worst_load(report));
    append(line, "  norm %.3f  lr %.2e", report->grad_norm, report->lr);
    append_speed(line, report);
}

static json_t *number_or_null(double value) {
    return isfinite(value) ? json_real(value) : json_null();
}

static json_t *step_json(const StepReport *report) {
    json_t *load = json_array();
    for (int64_t i = 0; i < report->n_layers; i++)
        json_array_append_new(load, number_or_null(report->load[i]));
    double share = report->ceiling > 0.0 ? report->flops_per_second / report->ceiling : NAN;
    double full_share = report->ceiling > 0.0 ? report->full_flops_per_second / report->ceiling : NAN;
    return json_pack("{s:s, s:I, s:I, s:o, s:o, s:o, s:o, s:o, s:f, s:f, s:o, s:o, s:o, s:o, s:I, s:o, s:f}", "event",
                     "step", "step", (json_int_t)report->step, "tokens", (json_int_t)report->n_tokens, "loss",
                     number_or_null(report->loss), "nll", number_or_null(report->nll), "balance",
                     number_or_null(report->balance), "z_loss", number_or_null(report->z_loss), "grad_norm",
                     number_or_null(report->grad_norm), "lr", report->lr, "ms", 1e3 * report->seconds, "tokens_per_s",
                     number_or_null(report->tokens_per_second), "flops_per_s", number_or_null(report->flops_per_second),
                     "share_of_ceiling", number_or_null(share), "share_with_full_attention", number_or_null(full_share),
                     "memory_bytes", (json_int_t)report->memory_bytes, "expert_load", load, "remaining_s",
                     report->remaining_seconds);
}

void log_step(Log *log, const StepReport *report) {
    if (log->json)
        log_json(log, step_json(report));
    if (!log->out)
        return;
    Line line = {.length = 0};
    print_step(&line, report);
    int64_t interval = report->n_steps / KEPT_STEPS + 1;
    if (log->is_live && report->step % interval != 0 && report->step != report->n_steps && report->step != 1)
        log_live(log, "%-9s %s", "step", line.bytes);
    else
        log_line(log, "step", "%s", line.bytes);
}

void log_json(Log *log, json_t *object) {
    char *text = object && log->json ? json_print_line(object) : NULL;
    if (text && (fputs(text, log->json) < 0 || fputc('\n', log->json) < 0 || fflush(log->json) != 0))
        warn_json(log);
    free(text);
    json_decref(object);
}
