#include <inttypes.h>
#include <stdlib.h>

#include "runtime/meter.h"
#include "runtime/profile.h"

/* Rows that are shown; the kernels below them take a row together. */
enum { MOST_ROWS = 40, NUMBER_BYTES = 16 };

/* Sums over the steps that are kept: of a kernel, of several, or of whole steps. */
typedef struct {
    const char *name;
    int64_t n_launches;
    double seconds, flops, bytes, roofline;
} Row;

typedef struct {
    Row *rows; /* kernels that ran, the longest first */
    size_t n_rows, n_steps;
    Row kernels;    /* all of them */
    double packing; /* seconds: weights that stay packed */
    double seconds; /* of the steps, with what is between kernels */
} Table;

static void add_row(Row *sum, const Row *row) {
    sum->n_launches += row->n_launches;
    sum->seconds += row->seconds;
    sum->flops += row->flops;
    sum->bytes += row->bytes;
    sum->roofline += row->roofline;
}

static Row kernel_row(const Profile *profile, uint32_t i) {
    const MoecKernel *kernel = &profile->plan->kernels[i];
    Row row = {.name = kernel->name};
    for (size_t j = 0; j < profile_steps(profile); j++) {
        row.n_launches += profile_step(profile, j)->totals[i].n_launches;
        row.seconds += profile_step(profile, j)->totals[i].seconds;
    }
    row.flops = kernel->flops * (double)row.n_launches;
    row.bytes = kernel->bytes * (double)row.n_launches;
    row.roofline = profile_roofline(profile, kernel) * (double)row.n_launches;
    return row;
}

/* Of equals, the one that the plan has first. */
static int compare_rows(const void *left, const void *right) {
    const Row *a = left, *b = right;
    if (a->seconds != b->seconds)
        return a->seconds < b->seconds ? 1 : -1;
    return a->name < b->name ? -1 : a->name > b->name;
}

static void fill_table(Table *table, const Profile *profile) {
    table->n_steps = profile_steps(profile);
    for (size_t i = 0; i < table->n_steps; i++) {
        table->seconds += profile_step(profile, i)->seconds;
        table->packing += profile_step(profile, i)->packing;
    }
    for (uint32_t i = 0; i < profile->plan->n_kernels; i++) {
        Row row = kernel_row(profile, i);
        if (row.n_launches == 0)
            continue;
        table->rows[table->n_rows++] = row;
        add_row(&table->kernels, &row);
    }
    qsort(table->rows, table->n_rows, sizeof *table->rows, compare_rows);
}

/* ---- Lines ------------------------------------------------------------------------------------------------------ */

/* "-" for what has none. */
static const char *print_number(char text[NUMBER_BYTES], const char *format, double value)
    __attribute__((format(printf, 2, 0)));
static const char *print_number(char text[NUMBER_BYTES], const char *format, double value) {
    snprintf(text, NUMBER_BYTES, value > 0.0 ? format : "-", value);
    return text;
}

static void say_row(Log *log, const Table *table, const Row *row) {
    char flops[NUMBER_BYTES], bytes[NUMBER_BYTES], share[NUMBER_BYTES];
    double n_steps = (double)table->n_steps;
    log_line(log, "", "%-36s %9.6g %10.3f %6.2f%% %9s %8s %9s", row->name, (double)row->n_launches / n_steps,
             1e3 * row->seconds / n_steps, 100.0 * row->seconds / table->seconds,
             print_number(flops, "%.1f", 1e-9 * row->flops / row->seconds),
             print_number(bytes, "%.1f", 1e-9 * row->bytes / row->seconds),
             print_number(share, "%.0f%%", 100.0 * row->roofline / row->seconds));
}

static void say_rows(Log *log, const Table *table) {
    char name[2 * NUMBER_BYTES];
    size_t n_shown = table->n_rows <= MOST_ROWS ? table->n_rows : MOST_ROWS - 1;
    Row rest = {.name = name};
    for (size_t i = 0; i < n_shown; i++)
        say_row(log, table, &table->rows[i]);
    for (size_t i = n_shown; i < table->n_rows; i++)
        add_row(&rest, &table->rows[i]);
    snprintf(name, sizeof name, "(%zu others)", table->n_rows - n_shown);
    if (rest.n_launches > 0)
        say_row(log, table, &rest);
}

/* Of what is no kernel. */
static void say_other(Log *log, const Table *table, const char *name, double seconds) {
    log_line(log, "", "%-36s %9s %10.3f %6.2f%%", name, "", 1e3 * seconds / (double)table->n_steps,
             100.0 * seconds / table->seconds);
}

static void say_total(Log *log, const Table *table) {
    Row total = table->kernels;
    if (table->packing > 0.0)
        say_other(log, table, "packing weights", table->packing);
    say_other(log, table, "between kernels", table->seconds - table->packing - total.seconds);
    total.name = "a step";
    total.seconds = table->seconds;
    say_row(log, table, &total);
}

void profile_say(const Profile *profile, Log *log) {
    Table table = {.rows = calloc(profile->plan->n_kernels + 1, sizeof *table.rows)};
    if (!table.rows || profile_steps(profile) == 0) {
        log_line(log, "profile", "%s", table.rows ? "no step was finished" : "no memory for the table");
        free(table.rows);
        return;
    }
    fill_table(&table, profile);
    const ProfileStep *first = profile_step(profile, 0), *last = profile_step(profile, table.n_steps - 1);
    log_line(log, "profile",
             "steps %" PRId64 " to %" PRId64 ", means of a step; roofline: %.0f GFLOP/s in matrix products, %.0f GB/s",
             first->step, last->step, 1e-9 * profile->ceiling, 1e-9 * profile->bandwidth);
    log_line(log, "", "%-36s %9s %10s %7s %9s %8s %9s", "kernel", "launches", "ms", "share", "GFLOP/s", "GB/s",
             "roofline");
    say_rows(log, &table);
    say_total(log, &table);
    free(table.rows);
}
