/* Random kernel forms for tests: the same seed gives the same form everywhere. */
#ifndef MOEC_TESTS_SUPPORT_RANDOM_FORM_H
#define MOEC_TESTS_SUPPORT_RANDOM_FORM_H

#include "codegen/form.h"

/* What an argument holds: floats in [-1, 1), positions in [-1, n_positions), or offsets of groups that rise from 0 to
   at most `n_positions`. */
typedef struct {
    int64_t n_positions;
    bool is_offsets;
} RandomFormArg;

typedef struct {
    Form *form;
    RandomFormArg *args; /* one an argument */
    double tolerance;    /* of f32, relative to 1 or to the value */
} RandomForm;

/* The form passes form_verify. */
RandomForm random_form_pieces(Arena *arena, const char *name, uint64_t seed);
RandomForm random_form_rows(Arena *arena, const char *name, uint64_t seed);
RandomForm random_form_scatter(Arena *arena, const char *name, uint64_t seed);
RandomForm random_form_route(Arena *arena, const char *name, uint64_t seed);
RandomForm random_form_product(Arena *arena, const char *name, uint64_t seed);
/* Of bf16, which is copied as it is. */
RandomForm random_form_tiles(Arena *arena, const char *name, uint64_t seed);
RandomForm random_form_attention(Arena *arena, const char *name, uint64_t seed);
/* Of which some tensors have bodies, and some, but not all factors, are of bf16. */
RandomForm random_form_attention_slots(Arena *arena, const char *name, uint64_t seed);

/* Of which all factors are of bf16, or computed; of half of the forms they are such as the copy engine brings. The
   tolerance is relative to a result's largest element. */
RandomForm random_form_attention_bf16(Arena *arena, const char *name, uint64_t seed);

/* Element number i of an argument, as kernels see it. */
void random_form_write(const FormArg *arg, void *elements, int64_t i, double value);
double random_form_read(const FormArg *arg, const void *elements, int64_t i);
/* How far it may be from what is expected: bf16 may round to the next number. */
double random_form_margin(const RandomForm *random, const FormArg *arg, double expected);

/* A form of a program, with what its arguments may hold as far as that shows: positions are the first few. On the
   arena. */
RandomForm random_form_of(Arena *arena, const Form *form);

/* Values for every argument, exact in its dtype; on the arena. */
double **random_form_values(Arena *arena, const RandomForm *random, uint64_t seed);

#endif
