#include "tests/support/random.h"

#include <math.h>

/* SplitMix64 (Steele, Lea and Flood 2014): an odd step through 64 bits, then two rounds of mixing. */
double random_uniform(uint64_t *state) {
    *state += 0x9e3779b97f4a7c15u;
    uint64_t z = *state;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    z ^= z >> 31;
    return (double)(z >> 11) * 0x1p-53;
}

void random_fill(Tensor *tensor, uint64_t seed, double low, double high) {
    int64_t n_elements = type_n_elements(&tensor->type);
    for (int64_t i = 0; i < n_elements; i++) {
        double value = low + (high - low) * random_uniform(&seed);
        tensor->data[i] = tensor->type.dtype == DTYPE_I32 ? floor(value) : value;
    }
}

void random_fill_separated(Tensor *tensor, uint64_t seed, double low, double high) {
    int64_t n_elements = type_n_elements(&tensor->type);
    for (int64_t i = 0; i < n_elements; i++)
        tensor->data[i] = low + (high - low) * ((double)i + 0.5) / (double)n_elements;
    for (int64_t i = n_elements - 1; i > 0; i--) { /* Fisher and Yates */
        int64_t j = (int64_t)(random_uniform(&seed) * (double)(i + 1));
        double moved = tensor->data[i];
        tensor->data[i] = tensor->data[j];
        tensor->data[j] = moved;
    }
}
