// RUN: %unit %s
/* The lowest free offset is what a search of the whole arena finds, and finding it stays cheap as models get deeper. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "passes/occupancy.h"
#include "tests/support/random.h"

/* ---- Against a search ------------------------------------------------------------------------------------------- */

enum { N_SEEDS = 40, N_PLACES = 60, MAX_TIMES = 40, MAX_BYTES = 9, N_BYTES = N_PLACES * MAX_BYTES };

/* Byte by byte and time by time. */
typedef struct {
    bool is_taken[MAX_TIMES][N_BYTES];
} Map;

static bool is_free(const Map *map, const Place *place, int64_t offset) {
    for (uint32_t time = place->first; time <= place->last; time++) {
        if (memchr(&map->is_taken[time][offset], true, (size_t)place->n_bytes))
            return false;
    }
    return true;
}

static void take(Map *map, const Place *place) {
    for (uint32_t time = place->first; time <= place->last; time++)
        memset(&map->is_taken[time][place->offset], true, (size_t)place->n_bytes);
}

static uint32_t random_below(uint64_t *state, uint32_t n) {
    return (uint32_t)(random_uniform(state) * n);
}

static void finds_what_a_search_finds(void **state) {
    (void)state;
    Map *map = malloc(sizeof *map);
    for (uint64_t seed = 0; seed < N_SEEDS; seed++) {
        uint64_t random = seed;
        uint32_t n_times = 1 + random_below(&random, MAX_TIMES);
        Arena *arena = arena_new();
        Occupancy occupancy = occupancy_new(arena, n_times);
        *map = (Map){0};
        for (int i = 0; i < N_PLACES; i++) {
            Place place = {.first = random_below(&random, n_times), .n_bytes = 1 + random_below(&random, MAX_BYTES)};
            place.last = place.first + random_below(&random, n_times - place.first);
            int64_t lowest = 0;
            while (!is_free(map, &place, lowest))
                lowest++;
            place.offset = occupancy_lowest_offset(&occupancy, &place);
            if (place.offset != lowest)
                fail_msg("seed %d, place %d: offset %lld, a search finds %lld", (int)seed, i, (long long)place.offset,
                         (long long)lowest);
            take(map, &place);
            occupancy_take(&occupancy, &place);
        }
        arena_free(arena);
    }
    free(map);
}

/* ---- Growth ----------------------------------------------------------------------------------------------------- */

enum { N_KEPT = 6, LAYER_TIMES = 24 };

/* The places of a training step: each layer keeps activations of different sizes for its backward half, and both halves
   need short-lived values. At most so many a layer: */
enum { PLACES_PER_LAYER = N_KEPT + 2 * LAYER_TIMES };

static size_t make_places(Place *places, uint32_t n_layers) {
    uint32_t n_times = 2 * n_layers * LAYER_TIMES;
    size_t n = 0;
    for (uint32_t layer = 0; layer < n_layers; layer++) {
        uint32_t first = layer * LAYER_TIMES;
        for (uint32_t i = 0; i < N_KEPT; i++)
            places[n++] = (Place){first + 3 * i, n_times - 1 - first - 2 * i, 1000 + 64 * (i / 2), 0};
        for (uint32_t i = 0; i < LAYER_TIMES; i++) {
            int64_t n_bytes = i % 5 == 0 ? 1500 : 300 + 64 * (i % 7);
            places[n++] = (Place){first + i, first + i + i % 4, n_bytes, 0};
            places[n++] = (Place){n_times - 4 - first - i, n_times - 4 - first - i + i % 4, n_bytes, 0};
        }
    }
    return n;
}

static int larger_first(const void *left, const void *right) {
    const Place *a = left, *b = right;
    if (a->n_bytes != b->n_bytes)
        return a->n_bytes < b->n_bytes ? 1 : -1;
    return (a->first > b->first) - (a->first < b->first);
}

/* The steps that all places of a model take. */
static size_t count_steps(uint32_t n_layers) {
    Arena *arena = arena_new();
    Place *places = arena_array_of(arena, Place, n_layers * PLACES_PER_LAYER);
    size_t n = make_places(places, n_layers);
    qsort(places, n, sizeof *places, larger_first);
    Occupancy occupancy = occupancy_new(arena, 2 * n_layers * LAYER_TIMES);
    for (size_t i = 0; i < n; i++) {
        places[i].offset = occupancy_lowest_offset(&occupancy, &places[i]);
        occupancy_take(&occupancy, &places[i]);
    }
    arena_free(arena);
    return occupancy.n_steps;
}

/* Twice the layers take twice the steps and a little more for the logarithm; asking all that was placed before would
   take four times as many. */
static void steps_grow_with_the_layers(void **state) {
    (void)state;
    for (uint32_t n_layers = 16; n_layers <= 128; n_layers *= 2) {
        size_t n_steps = count_steps(n_layers), n_twice = count_steps(2 * n_layers);
        if ((double)n_twice > 2.4 * (double)n_steps)
            fail_msg("%u layers take %zu steps, twice as many layers %zu", n_layers, n_steps, n_twice);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(finds_what_a_search_finds),
        cmocka_unit_test(steps_grow_with_the_layers),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
