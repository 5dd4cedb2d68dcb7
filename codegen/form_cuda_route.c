/* ROUTE forms as CUDA C. Scores that the body computes are a kernel of rows, and left in scratch memory; then a thread
   chooses for a row. Slots are sorted by expert in chunks, always the same ones: what each chunk has of each expert is
   counted, where a chunk's slots of an expert go follows from the counts of the chunks before it, and chunks put theirs
   there side by side. Within a chunk a thread has an expert and goes through the slots: there are no atomics. */
#include "codegen/form_cuda_internal.h"
#include "codegen/form_route.h"

const char *const cuda_route_names[] = {
    "E",     "K",      "SLOTS",   "CHUNK",  "N_CHUNKS",      "CAPACITY", "ROWS",    "THREADS",
    "all_",  "chosen", "counts_", "starts", "kept",          "slot",     "largest", "places",
    "value", "place",  "moves",   "n",      "first",         "first_",   "expert",  "rank",
    "total", "i",      "c",       "chunk",  "chunk_experts", "end",      NULL};

enum { CHUNK = 256, N_THREADS = 128 };

typedef struct {
    CudaPrinter *cuda;
    CPrinter *c;
    const Form *form;
    int64_t n_experts, n_slots, n_chunks;
    const char *scores;                 /* where the scores of a row start */
    const char *experts;                /* of all slots */
    const char *counts, *starts, *kept; /* in scratch memory */
} RoutePrinter;

static const char *result_text(const RoutePrinter *at, FormRouteResult result) {
    uint32_t arg = at->form->route.results[result];
    return arg == FORM_NONE ? NULL : at->cuda->base.arg_names[arg];
}

/* Room for n integers, as an expression. */
static const char *add_integers(const RoutePrinter *at, int64_t n) {
    return arena_printf(at->c->arena, "(int32_t *)(scratch + %lld)", (long long)cuda_add_scratch(at->cuda, n));
}

static void open_kernel(RoutePrinter *at, int64_t n_blocks, int n_threads) {
    cuda_open_kernel(at->cuda, n_blocks, n_threads);
    c_line(at->c, "enum { E = %lld, SLOTS = %lld, CHUNK = %d, N_CHUNKS = %lld, THREADS = %d };",
           (long long)at->n_experts, (long long)at->n_slots, CHUNK, (long long)at->n_chunks, n_threads);
}

/* ---- Scores ----------------------------------------------------------------------------------------------------- */

/* The body as a kernel of its own. What it yields goes to one argument more, which is last: scratch memory. */
static void print_scores(RoutePrinter *at) {
    Arena *arena = at->c->arena;
    const Form *form = at->form;
    Form *rows = form_new(arena, form->name);
    size_t capacity = 0;
    for (size_t i = 0; i < form->n_args; i++)
        arena_push(arena, rows->args, rows->n_args, capacity, form->args[i]);
    FormArg scores = {"scores", DTYPE_F32, form_n_rows(&form->body) * at->n_experts, FORM_OUT, false};
    arena_push(arena, rows->args, rows->n_args, capacity, scores);
    rows->body = form->body;
    rows->body.instrs = NULL;
    rows->body.n_instrs = rows->body.capacity = 0;
    rows->body.yield = FORM_NONE;
    for (size_t i = 0; i < form->body.n_instrs; i++)
        arena_push(arena, rows->body.instrs, rows->body.n_instrs, rows->body.capacity, form->body.instrs[i]);
    FormInstr store = {
        .op = FORM_STORE, .a = form->body.yield, .map = {.arg = (uint32_t)form->n_args, .gather = FORM_NONE}};
    int64_t stride = 1;
    for (int i = form->body.n_indices - 1; i >= 0; stride *= form->body.indices[i--].extent)
        store.map.strides[i] = stride;
    form_add(arena, &rows->body, store);
    cuda_print_form_of_rows(at->cuda, rows);
}

/* "x + row * 8": of scores that are just loaded, rows are evenly apart. */
static const char *loaded_scores(const RoutePrinter *at) {
    const FormBody *body = &at->form->body;
    const FormAccessMap *map = &body->instrs[0].map;
    int64_t stride = at->n_experts;
    for (int i = body->n_indices - 1; i >= 0; i--) {
        if (body->indices[i].is_col || body->indices[i].extent == 1)
            continue;
        stride = map->strides[i];
        break;
    }
    return arena_printf(at->c->arena, "%s + %lld + (int64_t)row * %lld", at->cuda->base.arg_names[map->arg],
                        (long long)map->offset, (long long)stride);
}

static void find_scores(RoutePrinter *at) {
    if (form_loads_scores(at->form)) {
        at->scores = loaded_scores(at);
        return;
    }
    print_scores(at);
    int64_t n = form_n_rows(&at->form->body) * at->n_experts;
    at->scores =
        arena_printf(at->c->arena, "scratch + %lld + (int64_t)row * E", (long long)cuda_add_scratch(at->cuda, n));
}

/* ---- Choices ---------------------------------------------------------------------------------------------------- */

/* The k largest so far are kept in order, the earlier first of equals; while there are fewer, any is among them. */
static const char choose[] = "float largest[K];\n"
                             "int places[K];\n"
                             "for (int i = 0; i < K; i++) {\n"
                             "    largest[i] = 0.0f;\n"
                             "    places[i] = 0;\n"
                             "}\n"
                             "for (int c = 0; c < E; c++) {\n"
                             "    float value = all_scores[c];\n"
                             "    float before = value;\n"
                             "    int place = c, moves = 0;\n"
                             "    #pragma unroll\n"
                             "    for (int i = 0; i < K; i++) {\n"
                             "        moves = moves || value > largest[i] || i >= c;\n"
                             "        float other = largest[i];\n"
                             "        int other_place = places[i];\n"
                             "        largest[i] = moves ? before : other;\n"
                             "        places[i] = moves ? place : other_place;\n"
                             "        before = moves ? other : before;\n"
                             "        place = moves ? other_place : place;\n"
                             "    }\n"
                             "}\n";

static void print_choices(RoutePrinter *at) {
    CPrinter *c = at->c;
    int64_t n_rows = form_n_rows(&at->form->body);
    const char *values = result_text(at, FORM_ROUTE_VALUES);
    open_kernel(at, (n_rows + N_THREADS - 1) / N_THREADS, N_THREADS);
    c_line(c, "enum { K = %lld, ROWS = %lld };", (long long)at->form->route.k, (long long)n_rows);
    c_line(c, "int row = (int)(blockIdx.x * THREADS + threadIdx.x);");
    c_line(c, "if (row >= ROWS)");
    c_line(c, "    return;");
    c_line(c, "const float *all_scores = %s;", at->scores);
    c_line(c, "int32_t *chosen = %s;", at->experts);
    c_text(c, choose);
    c_open(c, "for (int i = 0; i < K; i++)");
    if (values)
        c_line(c, "%s[(int64_t)row * K + i] = largest[i];", values);
    c_line(c, "chosen[(int64_t)row * K + i] = places[i];");
    c_close(c);
    c_close(c);
}

/* ---- Sorting ---------------------------------------------------------------------------------------------------- */

static void print_chunk(RoutePrinter *at) {
    CPrinter *c = at->c;
    c_line(c, "MOEC_SHARED int32_t chunk_experts[CHUNK];");
    c_line(c, "int chunk = (int)blockIdx.x, first = chunk * CHUNK, n = SLOTS - first < CHUNK ? SLOTS - first : CHUNK;");
    c_line(c, "const int32_t *chosen = %s;", at->experts);
    c_line(c, "for (int i = (int)threadIdx.x; i < n; i += THREADS)");
    c_line(c, "    chunk_experts[i] = chosen[first + i];");
    c_line(c, "__syncthreads();");
}

static void print_counts(RoutePrinter *at) {
    CPrinter *c = at->c;
    open_kernel(at, at->n_chunks, N_THREADS);
    print_chunk(at);
    c_line(c, "int32_t *counts_ = %s;", at->counts);
    c_text(c, "for (int expert = (int)threadIdx.x; expert < E; expert += THREADS) {\n"
              "    int total = 0;\n"
              "    for (int i = 0; i < n; i++)\n"
              "        total += chunk_experts[i] == expert;\n"
              "    counts_[(int64_t)chunk * E + expert] = total;\n"
              "}\n");
    c_close(c);
}

/* One block: counts become what chunks before have, and experts' first rows follow from what each keeps. */
static void print_starts(RoutePrinter *at) {
    CPrinter *c = at->c;
    const char *counts = result_text(at, FORM_ROUTE_COUNTS), *offsets = result_text(at, FORM_ROUTE_OFFSETS);
    open_kernel(at, 1, N_THREADS);
    c_line(c, "int32_t *counts_ = %s, *starts = %s, *kept = %s;", at->counts, at->starts, at->kept);
    c_open(c, "for (int expert = (int)threadIdx.x; expert < E; expert += THREADS)");
    c_line(c, "int total = 0;");
    c_open(c, "for (int chunk = 0; chunk < N_CHUNKS; chunk++)");
    c_line(c, "int n = counts_[(int64_t)chunk * E + expert];");
    c_line(c, "counts_[(int64_t)chunk * E + expert] = total;");
    c_line(c, "total += n;");
    c_close(c);
    if (counts)
        c_line(c, "%s[expert] = (float)total;", counts);
    if (at->form->route.capacity > 0)
        c_line(c, "kept[expert] = total < %lld ? total : %lld;", (long long)at->form->route.capacity,
               (long long)at->form->route.capacity);
    else
        c_line(c, "kept[expert] = total;");
    c_close(c);
    c_line(c, "__syncthreads();");
    c_open(c, "if (threadIdx.x == 0)");
    c_line(c, "int total = 0;");
    c_open(c, "for (int expert = 0; expert <= E; expert++)");
    c_line(c, "starts[expert] = total;");
    if (offsets)
        c_line(c, "%s[expert] = total;", offsets);
    c_line(c, "total += expert < E ? kept[expert] : 0;");
    c_close(c);
    c_close(c);
    c_close(c);
}

/* Behind an expert's capacity, and of experts that are none, slots have no row. */
static void print_places(RoutePrinter *at) {
    CPrinter *c = at->c;
    const char *slot_of_row = result_text(at, FORM_ROUTE_SLOT_OF_ROW);
    const char *row_of_slot = result_text(at, FORM_ROUTE_ROW_OF_SLOT);
    open_kernel(at, at->n_chunks, N_THREADS);
    c_line(c, "enum { CAPACITY = %lld };",
           (long long)(at->form->route.capacity > 0 ? at->form->route.capacity : INT32_MAX));
    print_chunk(at);
    c_line(c, "const int32_t *counts_ = %s, *starts = %s;", at->counts, at->starts);
    c_open(c, "for (int i = (int)threadIdx.x; i < n; i += THREADS)");
    c_line(c, "if (chunk_experts[i] < 0 || chunk_experts[i] >= E)");
    c_line(c, "    %s[first + i] = -1;", row_of_slot);
    c_close(c);
    c_open(c, "for (int expert = (int)threadIdx.x; expert < E; expert += THREADS)");
    c_line(c, "int rank = counts_[(int64_t)chunk * E + expert];");
    c_open(c, "for (int i = 0; i < n; i++)");
    c_line(c, "if (chunk_experts[i] != expert)");
    c_line(c, "    continue;");
    c_line(c, "int place = rank < CAPACITY ? starts[expert] + rank : -1;");
    c_line(c, "%s[first + i] = place;", row_of_slot);
    if (slot_of_row) {
        c_line(c, "if (place >= 0)");
        c_line(c, "    %s[place] = first + i;", slot_of_row);
    }
    c_line(c, "rank++;");
    c_close(c);
    c_close(c);
    if (slot_of_row) {
        const FormArg *rows = &at->form->args[at->form->route.results[FORM_ROUTE_SLOT_OF_ROW]];
        c_line(c, "for (int64_t i = starts[E] + chunk * THREADS + (int)threadIdx.x; i < %lld; i += N_CHUNKS * THREADS)",
               (long long)rows->n_elements);
        c_line(c, "    %s[i] = -1;", slot_of_row);
    }
    c_close(c);
}

/* ---- The form --------------------------------------------------------------------------------------------------- */

/* The argument that holds them, or scratch memory. */
static void find_experts(RoutePrinter *at) {
    const FormRoute *route = &at->form->route;
    const char *stored = result_text(at, FORM_ROUTE_EXPERTS);
    if (route->given != FORM_NONE)
        at->experts = at->cuda->base.arg_names[route->given];
    else
        at->experts = stored ? stored : add_integers(at, at->n_slots);
}

void cuda_print_route(CudaPrinter *cuda, const Form *form) {
    const FormRoute *route = &form->route;
    int64_t n_slots = form_n_slots(form);
    RoutePrinter at = {.cuda = cuda,
                       .c = cuda->base.c,
                       .form = form,
                       .n_experts = form_n_cols(&form->body),
                       .n_slots = n_slots,
                       .n_chunks = (n_slots + CHUNK - 1) / CHUNK};
    if (route->given == FORM_NONE)
        find_scores(&at);
    find_experts(&at);
    at.counts = add_integers(&at, at.n_chunks * at.n_experts);
    at.starts = add_integers(&at, at.n_experts + 1);
    at.kept = add_integers(&at, at.n_experts);
    if (route->given == FORM_NONE)
        print_choices(&at);
    bool is_placed = route->results[FORM_ROUTE_ROW_OF_SLOT] != FORM_NONE;
    if (!is_placed && route->results[FORM_ROUTE_COUNTS] == FORM_NONE && route->results[FORM_ROUTE_OFFSETS] == FORM_NONE)
        return;
    print_counts(&at);
    print_starts(&at);
    if (is_placed)
        print_places(&at);
}
