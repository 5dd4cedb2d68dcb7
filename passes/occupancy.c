/* Time as a tree of spans, halved down to single times. A place falls into few spans that it covers as a whole, at most
   two of each length; each of these notes its bytes, and so does each span that holds one of them. What is taken at
   some of the times of a place is then known to few spans: those that it falls into, and those that hold these.

   Bytes are kept as runs, joined where they touch. Plans that waste little leave few runs, so both questions take
   O(log n) spans times O(log n) steps for n times; were no two runs ever joined, it would be O(n). */
#include "passes/occupancy.h"

#include <stdbool.h>
#include <string.h>

/* Bytes [begin, end). */
typedef struct {
    int64_t begin, end;
} Run;

/* Rising; between two there is a gap. */
typedef struct {
    Run *items;
    size_t n, capacity;
} Runs;

struct Span {
    Runs covered; /* taken at all its times, by places that don't cover the span that holds it */
    Runs touched; /* taken at some of its times, by places that don't cover the span that holds it */
};

Occupancy occupancy_new(Arena *arena, size_t n_times) {
    Occupancy occupancy = {.arena = arena, .n_times = 1};
    while (occupancy.n_times < n_times)
        occupancy.n_times *= 2;
    occupancy.spans = arena_array_of(arena, Span, 2 * occupancy.n_times);
    return occupancy;
}

/* ---- Runs ------------------------------------------------------------------------------------------------------- */

/* The index of the first that ends behind `offset`. */
static size_t runs_find(const Runs *runs, int64_t offset) {
    size_t low = 0, high = runs->n;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (runs->items[middle].end > offset)
            high = middle;
        else
            low = middle + 1;
    }
    return low;
}

/* The lowest offset from `offset` on where n_bytes fit between the runs. */
static int64_t runs_gap(const Runs *runs, int64_t offset, int64_t n_bytes, size_t *n_steps) {
    size_t i = runs_find(runs, offset);
    for (; i < runs->n && runs->items[i].begin - offset < n_bytes; i++) {
        offset = runs->items[i].end;
        ++*n_steps;
    }
    return offset;
}

/* Adds a run, which may overlap those that are there. */
static void runs_add(Occupancy *occupancy, Runs *runs, Run run) {
    size_t first = runs_find(runs, run.begin - 1), end = first; /* of those that it joins */
    for (; end < runs->n && runs->items[end].begin <= run.end; end++) {
        run.begin = runs->items[end].begin < run.begin ? runs->items[end].begin : run.begin;
        run.end = runs->items[end].end > run.end ? runs->items[end].end : run.end;
    }
    occupancy->n_steps += 1 + runs->n - first;
    if (end == first) {
        arena_push(occupancy->arena, runs->items, runs->n, runs->capacity, run);
        memmove(&runs->items[first + 1], &runs->items[first], (runs->n - 1 - first) * sizeof run);
    } else {
        memmove(&runs->items[first + 1], &runs->items[end], (runs->n - end) * sizeof run);
        runs->n -= end - first - 1;
    }
    runs->items[first] = run;
}

/* ---- Spans of time ---------------------------------------------------------------------------------------------- */

/* Span `index` with the times [first, last] that it stands for. */
typedef struct {
    size_t index, first, last;
} Stretch;

static Stretch root_of(const Occupancy *occupancy) {
    return (Stretch){1, 0, occupancy->n_times - 1};
}

static Stretch half_of(const Stretch *stretch, bool is_later) {
    size_t middle = stretch->first + (stretch->last - stretch->first) / 2;
    return is_later ? (Stretch){2 * stretch->index + 1, middle + 1, stretch->last}
                    : (Stretch){2 * stretch->index, stretch->first, middle};
}

static bool is_apart(const Stretch *stretch, const Place *place) {
    return place->last < stretch->first || stretch->last < place->first;
}

static bool is_covered(const Stretch *stretch, const Place *place) {
    return place->first <= stretch->first && stretch->last <= place->last;
}

/* At most two spans of each length hold a part of a place, and two of each length are covered. */
enum { MAX_SETS = 4 * 64 };

/* All that is taken at some time of a place. */
typedef struct {
    const Runs *sets[MAX_SETS];
    size_t n;
} Taken;

static void find_taken(const Occupancy *occupancy, Stretch stretch, const Place *place, Taken *taken) {
    if (is_apart(&stretch, place))
        return;
    const Span *span = &occupancy->spans[stretch.index];
    bool is_whole = is_covered(&stretch, place);
    taken->sets[taken->n++] = is_whole ? &span->touched : &span->covered;
    for (int half = 0; half < 2 && !is_whole; half++)
        find_taken(occupancy, half_of(&stretch, half == 1), place, taken);
}

int64_t occupancy_lowest_offset(Occupancy *occupancy, const Place *place) {
    Taken taken = {.n = 0};
    find_taken(occupancy, root_of(occupancy), place, &taken);
    int64_t offset = 0;
    size_t n_agreeing = 0; /* how many sets in turn have left the offset where it is */
    for (size_t i = 0; n_agreeing < taken.n; i = (i + 1) % taken.n) {
        int64_t higher = runs_gap(taken.sets[i], offset, place->n_bytes, &occupancy->n_steps);
        n_agreeing = higher == offset ? n_agreeing + 1 : 1;
        offset = higher;
        occupancy->n_steps++;
    }
    return offset;
}

static void take(Occupancy *occupancy, Stretch stretch, const Place *place) {
    if (is_apart(&stretch, place))
        return;
    Span *span = &occupancy->spans[stretch.index];
    bool is_whole = is_covered(&stretch, place);
    const Run run = {place->offset, place->offset + place->n_bytes};
    runs_add(occupancy, &span->touched, run);
    if (is_whole)
        runs_add(occupancy, &span->covered, run);
    for (int half = 0; half < 2 && !is_whole; half++)
        take(occupancy, half_of(&stretch, half == 1), place);
}

void occupancy_take(Occupancy *occupancy, const Place *place) {
    take(occupancy, root_of(occupancy), place);
}
