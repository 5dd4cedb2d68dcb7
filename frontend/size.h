/* Sizes as polynomials over the named sizes of a model, so that a dim keeps its name through + - * and two dims can be
   told apart that only happen to have one value. */
#ifndef MOEC_FRONTEND_SIZE_H
#define MOEC_FRONTEND_SIZE_H

#include "ir/ir.h"
#include "ir/names.h"

/* A size whose name would be longer than this has none. */
enum { SIZE_MAX_TERMS = 6, SIZE_MAX_FACTORS = 4, SIZE_MAX_NAME = 200 };

/* coefficient times the product of the atoms, in order of their index. */
typedef struct {
    int64_t coefficient;
    int n_atoms;
    uint32_t atoms[SIZE_MAX_FACTORS];
} SizeTerm;

/* A sum of terms with distinct products, in a fixed order. No term has coefficient 0. */
typedef struct {
    int64_t value;
    int n_terms;
    SizeTerm terms[SIZE_MAX_TERMS];
    bool is_quotient; /* one atom that stands for a division that left the polynomials */
} Size;

/* The names that polynomials are over. */
typedef struct {
    Arena *arena;
    const char **items;
    size_t n, capacity;
    Names names; /* -> index of items */
} SizeAtoms;

Size size_number(int64_t value);
/* The atom `name`, new or known. */
Size size_atom(SizeAtoms *atoms, const char *name, int64_t value);

/* sign: one of + - * /. False where the value overflows or a division by zero or with a remainder was asked for;
 *reason then says which. */
bool size_binary(SizeAtoms *atoms, char sign, const Size *a, const Size *b, Size *out, const char **reason);

/* "heads*head_dim", without blanks; NULL for a plain number, and where it would be too long. */
const char *size_name(const SizeAtoms *atoms, const Size *size);

/* The dim with this extent and name. */
Dim size_dim(const SizeAtoms *atoms, const Size *size);

/* Whether two dims are one: equal extents, and equal names where both have one. */
bool size_dims_match(const Dim *a, const Dim *b);

#endif
