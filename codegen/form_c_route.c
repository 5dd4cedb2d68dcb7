/* ROUTE forms as C. Chunks of the rows, always the same ones, are shared out among threads: each chooses experts for
   its rows and counts them. Where each chunk's slots of each expert go follows from the counts, so that the chunks are
   sorted side by side and nothing depends on the number of threads. */
#include <assert.h>
#include <string.h>

#include "codegen/form_c_rows.h"
#include "codegen/form_route.h"

/* Rows that are looked at together: a multiple of the lanes of any vector. */
enum { ROUTE_ROWS = 16 };
/* Bytes of all chunks' counts; more are no place on the stack. */
static const int64_t MAX_COUNTED_BYTES = 1 << 20;

typedef struct {
    RowsPrinter rows; /* of the body, which stores its scores */
    const Form *form; /* as it was */
    int64_t n_rows, n_experts, n_chunks;
    double work;
    bool counts;         /* slots of each expert */
    const char *experts; /* where the expert of a slot waits to be sorted; NULL: nothing is sorted */
} RoutePrinter;

/* ---- Names ------------------------------------------------------------------------------------------------------ */

/* The argument's name, or NULL where the result is not wanted. */
static const char *result_name(const RoutePrinter *at, FormRouteResult result) {
    uint32_t arg = at->form->route.results[result];
    return arg == FORM_NONE ? NULL : at->rows.base.arg_names[arg];
}

static const char *given_name(const RoutePrinter *at) {
    uint32_t arg = at->form->route.given;
    return arg == FORM_NONE ? NULL : at->rows.base.arg_names[arg];
}

static const char *find_experts(const RoutePrinter *at) {
    if (!result_name(at, FORM_ROUTE_ROW_OF_SLOT))
        return NULL;
    if (given_name(at))
        return given_name(at);
    const char *stored = result_name(at, FORM_ROUTE_EXPERTS);
    return stored ? stored : result_name(at, FORM_ROUTE_ROW_OF_SLOT);
}

/* ---- Chunks ----------------------------------------------------------------------------------------------------- */

static int64_t count_chunks(const RoutePrinter *at) {
    int64_t n_groups = (at->n_rows + ROUTE_ROWS - 1) / ROUTE_ROWS, n = FORM_CHUNKS;
    int64_t n_bytes = at->n_experts * (int64_t)sizeof(int32_t);
    n = n < n_groups ? n : n_groups;
    n = n < MAX_COUNTED_BYTES / n_bytes ? n : MAX_COUNTED_BYTES / n_bytes;
    return n > 1 && c_is_parallel(at->work) ? n : 1;
}

/* The loop over chunks, and the rows or slots of one, from `begin` on to before `stop`; `size`: slots of a row. */
static void open_chunks(RoutePrinter *at, int64_t size) {
    CPrinter *c = at->rows.base.c;
    long long n_groups = (at->n_rows + ROUTE_ROWS - 1) / ROUTE_ROWS, n = at->n_rows * size;
    long long n_slots = ROUTE_ROWS * size; /* of a group */
    c_parallel(c, at->n_chunks > 1 ? at->work : 0, "");
    c_open(c, "for (int64_t chunk = 0; chunk < N_CHUNKS; chunk++)");
    c_line(c, "int64_t begin = chunk * %lld / N_CHUNKS * %lld;", n_groups, n_slots);
    c_line(c, "int64_t stop = (chunk + 1) * %lld / N_CHUNKS * %lld;", n_groups, n_slots);
    c_line(c, "stop = stop < %lld ? stop : %lld;", n, n);
}

static void print_zero_counts(RoutePrinter *at) {
    if (at->counts)
        c_line(at->rows.base.c, "memset(counted[chunk], 0, sizeof counted[chunk]);");
}

/* ---- Choosing --------------------------------------------------------------------------------------------------- */

/* Scores of some rows, each computed as a row of any form is. */
static void print_scores(RoutePrinter *at) {
    CPrinter *c = at->rows.base.c;
    c_line(c, "float scored[MOEC_LANES][N_EXPERTS];");
    rows_open(&at->rows, "first", "first + n_lanes");
    c_line(c, "float *restrict scores = scored[%s - first];", rows_name(&at->rows));
    rows_print(&at->rows);
    c_close(c);
}

/* Where the scores of row `first` are, and how far apart rows. */
static const char *scores_text(const RoutePrinter *at, long long *row_stride) {
    *row_stride = (long long)at->n_experts;
    if (!form_loads_scores(at->form))
        return "scored[0]";
    const FormBody *body = &at->form->body;
    const FormAccessMap *map = &body->instrs[0].map;
    for (int i = 0; i < body->n_indices && !body->indices[i].is_col; i++)
        *row_stride = (long long)map->strides[i];
    Arena *arena = at->rows.base.c->arena;
    const char *start = at->rows.base.arg_names[map->arg];
    if (map->offset > 0)
        start = arena_printf(arena, "%s + %lld", start, (long long)map->offset);
    return arena_printf(arena, "%s + first * %lld", start, *row_stride);
}

/* As many rows at a time as a vector has lanes, a lane to each: an element is exchanged with the first of the largest
   so far that is less, the one pushed out with the next, and so on. Nothing branches on the data. Of equals the earlier
   one stays in front. */
static void print_search(RoutePrinter *at) {
    CPrinter *c = at->rows.base.c;
    long long row_stride;
    const char *scores = scores_text(at, &row_stride);
    c_line(c, "MoecIntegers largest[K] = {{0}}, places[K] = {{0}}; /* the bits of values; their indices */");
    c_open(c, "for (int64_t start = 0; start < N_EXPERTS; start += COLUMNS)");
    c_line(c, "int n = N_EXPERTS - start < COLUMNS ? N_EXPERTS - start : COLUMNS;");
    c_line(c, "float columns[COLUMNS][MOEC_LANES] MOEC_ALIGNED;");
    c_line(c, "moec_transpose(columns[0], MOEC_LANES, %s + start, %lld, n_lanes, n, 1.0f);", scores, row_stride);
    c_text(c, "for (int j = 0; j < n; j++) {\n"
              "    MoecVector value = *(const MoecVector *)columns[j];\n"
              "    MoecIntegers bits = (MoecIntegers)value, place = (MoecIntegers){0} + (int32_t)(start + j);\n"
              "    MoecIntegers moves = {0};\n"
              "    for (int i = 0; i < K; i++) {\n"
              "        moves |= value > (MoecVector)largest[i];\n"
              "        if (i >= start + j) /* still empty */\n"
              "            moves = (MoecIntegers){0} - 1;\n"
              "        moec_exchange(moves, &bits, &largest[i]);\n"
              "        moec_exchange(moves, &place, &places[i]);\n"
              "    }\n"
              "}\n");
    c_close(c);
}

static void print_choices(RoutePrinter *at) {
    CPrinter *c = at->rows.base.c;
    const char *values = result_name(at, FORM_ROUTE_VALUES), *experts = result_name(at, FORM_ROUTE_EXPERTS);
    experts = experts ? experts : at->experts;
    c_open(c, "for (int lane = 0; lane < n_lanes; lane++)");
    c_open(c, "for (int i = 0; i < K; i++)");
    if (values)
        c_line(c, "%s[(first + lane) * K + i] = ((MoecVector)largest[i])[lane];", values);
    if (experts)
        c_line(c, "%s[(first + lane) * K + i] = places[i][lane];", experts);
    if (at->counts)
        c_line(c, "counted[chunk][places[i][lane]]++;");
    c_close(c);
    c_close(c);
}

static void print_choosing(RoutePrinter *at) {
    CPrinter *c = at->rows.base.c;
    open_chunks(at, 1);
    print_zero_counts(at);
    c_open(c, "for (int64_t first = begin; first < stop; first += MOEC_LANES)");
    c_line(c, "int n_lanes = stop - first < MOEC_LANES ? stop - first : MOEC_LANES;");
    if (!form_loads_scores(at->form))
        print_scores(at);
    print_search(at);
    print_choices(at);
    c_close(c);
    c_close(c);
}

/* Experts that are none, which no router gives, have no slots. */
static void print_counting(RoutePrinter *at) {
    CPrinter *c = at->rows.base.c;
    open_chunks(at, 1);
    print_zero_counts(at);
    c_open(c, "for (int64_t slot = begin; slot < stop; slot++)");
    c_line(c, "int32_t expert = %s[slot];", given_name(at));
    c_text(c, "if ((uint32_t)expert < N_EXPERTS)\n"
              "    counted[chunk][expert]++;\n");
    c_close(c);
    c_close(c);
}

/* ---- Sorting ---------------------------------------------------------------------------------------------------- */

/* Counts become the row of the next slot. */
static void print_starts(RoutePrinter *at) {
    CPrinter *c = at->rows.base.c;
    const char *counts = result_name(at, FORM_ROUTE_COUNTS), *offsets = result_name(at, FORM_ROUTE_OFFSETS);
    long long capacity = (long long)at->form->route.capacity;
    if (capacity > 0)
        c_line(c, "int32_t ends[N_EXPERTS];");
    c_line(c, "int32_t next = 0;");
    c_open(c, "for (int64_t expert = 0; expert < N_EXPERTS; expert++)");
    c_line(c, "int32_t n = 0;");
    c_open(c, "for (int64_t chunk = 0; chunk < N_CHUNKS; chunk++)");
    c_text(c, "int32_t n_own = counted[chunk][expert];\n"
              "counted[chunk][expert] = next + n;\n"
              "n += n_own;\n");
    c_close(c);
    if (counts)
        c_line(c, "%s[expert] = (float)n;", counts);
    if (offsets)
        c_line(c, "%s[expert] = next;", offsets);
    if (capacity > 0) {
        c_line(c, "next += n < %lld ? n : %lld;", capacity, capacity);
        c_line(c, "ends[expert] = next;");
    } else {
        c_line(c, "next += n;");
    }
    c_close(c);
    if (offsets)
        c_line(c, "%s[N_EXPERTS] = next;", offsets);
}

static void print_sorting(RoutePrinter *at) {
    CPrinter *c = at->rows.base.c;
    const char *row_of_slot = result_name(at, FORM_ROUTE_ROW_OF_SLOT);
    const char *slot_of_row = result_name(at, FORM_ROUTE_SLOT_OF_ROW);
    bool is_given = given_name(at), has_capacity = at->form->route.capacity > 0;
    open_chunks(at, at->form->route.k);
    c_open(c, "for (int64_t slot = begin; slot < stop; slot++)");
    c_line(c, "int32_t expert = %s[slot];", at->experts);
    if (is_given)
        c_line(c, "int32_t place = (uint32_t)expert < N_EXPERTS ? counted[chunk][expert]++ : -1;");
    else
        c_line(c, "int32_t place = counted[chunk][expert]++;");
    if (has_capacity)
        c_line(c, "place = place >= 0 && place < ends[%s] ? place : -1;",
               is_given ? "place < 0 ? 0 : expert" : "expert");
    c_line(c, "%s[slot] = place;", row_of_slot);
    if (slot_of_row && (is_given || has_capacity))
        c_line(c, "if (place >= 0)");
    if (slot_of_row)
        c_line(c, "%s%s[place] = (int32_t)slot;", is_given || has_capacity ? "    " : "", slot_of_row);
    c_close(c);
    c_close(c);
    if (!slot_of_row)
        return;
    uint32_t arg = at->form->route.results[FORM_ROUTE_SLOT_OF_ROW];
    c_line(c, "for (int64_t row = next; row < %lld; row++)", (long long)at->form->args[arg].n_elements);
    c_line(c, "    %s[row] = -1;", slot_of_row);
}

/* ---- All of it -------------------------------------------------------------------------------------------------- */

/* The form whose body stores its scores where `scores` points, one row of them. */
static Form *storing_scores(Arena *arena, const Form *form) {
    Form *copy = arena_new_of(arena, Form);
    *copy = *form;
    if (form->body.yield == FORM_NONE)
        return copy;
    copy->args = arena_array_of(arena, FormArg, form->n_args + 1);
    for (size_t i = 0; i < form->n_args; i++)
        copy->args[i] = form->args[i];
    FormArg scores = {.name = "", .dtype = DTYPE_F32, .n_elements = form_n_cols(&form->body), .access = FORM_OUT};
    copy->args[copy->n_args++] = scores;
    copy->body.instrs = NULL;
    copy->body.n_instrs = copy->body.capacity = 0;
    for (size_t i = 0; i < form->body.n_instrs; i++)
        arena_push(arena, copy->body.instrs, copy->body.n_instrs, copy->body.capacity, form->body.instrs[i]);
    FormInstr store = {.op = FORM_STORE, .a = form->body.yield, .b = FORM_NONE, .c = FORM_NONE};
    store.map = (FormAccessMap){.arg = (uint32_t)form->n_args, .gather = FORM_NONE};
    int64_t stride = 1;
    for (int i = form->body.n_indices - 1; i >= 0 && form->body.indices[i].is_col; i--) {
        store.map.strides[i] = stride;
        stride *= form->body.indices[i].extent;
    }
    copy->body.yield = FORM_NONE;
    form_add(arena, &copy->body, store);
    return copy;
}

static RoutePrinter printer_new(CPrinter *c, const Form *form) {
    Form *storing = storing_scores(c->arena, form);
    RoutePrinter at = {.form = form, .rows = rows_printer_new(c, storing)};
    if (storing->n_args > form->n_args)
        at.rows.base.arg_names[form->n_args] = "scores";
    at.n_rows = form_n_rows(&form->body);
    at.n_experts = form_n_cols(&form->body);
    at.experts = find_experts(&at);
    at.counts = at.experts || result_name(&at, FORM_ROUTE_COUNTS) || result_name(&at, FORM_ROUTE_OFFSETS);
    double n_scores = form->route.given == FORM_NONE ? (double)at.n_rows * (double)at.n_experts : (double)at.n_rows;
    at.work = (form_loads_scores(form) ? 0 : at.rows.work) + (double)form->route.k * n_scores;
    at.n_chunks = count_chunks(&at);
    return at;
}

void form_print_route(CPrinter *c, const Form *form) {
    RoutePrinter at = printer_new(c, form);
    FormPrinter pointers = at.rows.base;
    pointers.form = form;
    pointers.body = &form->body;
    form_print_pointers(&pointers);
    c_constants(c, (const CConstant[]){{"N_EXPERTS", at.n_experts},
                                       {"K", form->route.k},
                                       {"COLUMNS", at.n_experts < 64 ? at.n_experts : 64},
                                       {"N_CHUNKS", at.n_chunks},
                                       {NULL, 0}});
    if (at.counts) {
        bool is_large = at.n_experts * (int64_t)sizeof(int32_t) > MAX_COUNTED_BYTES;
        c_line(c, "%sint32_t counted[N_CHUNKS][N_EXPERTS];", is_large ? "static " : "");
    }
    if (given_name(&at))
        print_counting(&at);
    else
        print_choosing(&at);
    if (at.counts)
        print_starts(&at);
    if (at.experts)
        print_sorting(&at);
}
