#include "frontend/size.h"

#include <string.h>

Size size_number(int64_t value) {
    Size size = {.value = value, .n_terms = value != 0, .terms = {{.coefficient = value}}};
    return size;
}

Size size_atom(SizeAtoms *atoms, const char *name, int64_t value) {
    size_t i;
    atoms->names.arena = atoms->arena;
    if (!names_find(&atoms->names, name, &i)) {
        i = atoms->n;
        arena_push(atoms->arena, atoms->items, atoms->n, atoms->capacity, arena_strdup(atoms->arena, name));
        names_add(&atoms->names, atoms->items[i], i);
    }
    return (Size){.value = value, .n_terms = 1, .terms = {{.coefficient = 1, .n_atoms = 1, .atoms = {(uint32_t)i}}}};
}

/* ---- Polynomials --------------------------------------------------------------------------------------------------
 */

/* Longer products first, then by atoms: "heads*head_dim+1". */
static int compare_products(const SizeTerm *a, const SizeTerm *b) {
    if (a->n_atoms != b->n_atoms)
        return a->n_atoms > b->n_atoms ? -1 : 1;
    for (int i = 0; i < a->n_atoms; i++) {
        if (a->atoms[i] != b->atoms[i])
            return a->atoms[i] < b->atoms[i] ? -1 : 1;
    }
    return 0;
}

/* Adds a term; false where there is no room or a coefficient overflows. */
static bool add_term(Size *size, const SizeTerm *term) {
    int i = 0;
    while (i < size->n_terms && compare_products(&size->terms[i], term) < 0)
        i++;
    if (i < size->n_terms && compare_products(&size->terms[i], term) == 0) {
        if (__builtin_add_overflow(size->terms[i].coefficient, term->coefficient, &size->terms[i].coefficient))
            return false;
        if (size->terms[i].coefficient == 0)
            memmove(&size->terms[i], &size->terms[i + 1], sizeof(SizeTerm) * (size_t)(--size->n_terms - i));
        return true;
    }
    if (size->n_terms == SIZE_MAX_TERMS)
        return false;
    memmove(&size->terms[i + 1], &size->terms[i], sizeof(SizeTerm) * (size_t)(size->n_terms++ - i));
    size->terms[i] = *term;
    return true;
}

static bool add_scaled(Size *out, const Size *size, int64_t factor) {
    for (int i = 0; i < size->n_terms; i++) {
        SizeTerm term = size->terms[i];
        if (__builtin_mul_overflow(term.coefficient, factor, &term.coefficient) || !add_term(out, &term))
            return false;
    }
    return true;
}

static bool multiply_terms(const SizeTerm *a, const SizeTerm *b, SizeTerm *out) {
    *out = (SizeTerm){.n_atoms = a->n_atoms + b->n_atoms};
    if (out->n_atoms > SIZE_MAX_FACTORS || __builtin_mul_overflow(a->coefficient, b->coefficient, &out->coefficient))
        return false;
    int i = 0, j = 0;
    for (int k = 0; k < out->n_atoms; k++) {
        bool takes_a = j == b->n_atoms || (i < a->n_atoms && a->atoms[i] <= b->atoms[j]);
        out->atoms[k] = takes_a ? a->atoms[i++] : b->atoms[j++];
    }
    return true;
}

static bool multiply(Size *out, const Size *a, const Size *b) {
    for (int i = 0; i < a->n_terms; i++) {
        for (int j = 0; j < b->n_terms; j++) {
            SizeTerm term;
            if (!multiply_terms(&a->terms[i], &b->terms[j], &term) || !add_term(out, &term))
                return false;
        }
    }
    return true;
}

/* term / divisor, where that is a term again. */
static bool divide_term(const SizeTerm *term, const SizeTerm *divisor, SizeTerm *out) {
    if (term->coefficient % divisor->coefficient != 0)
        return false;
    *out = (SizeTerm){.coefficient = term->coefficient / divisor->coefficient};
    int j = 0;
    for (int i = 0; i < term->n_atoms; i++) {
        if (j < divisor->n_atoms && term->atoms[i] == divisor->atoms[j])
            j++;
        else
            out->atoms[out->n_atoms++] = term->atoms[i];
    }
    return j == divisor->n_atoms;
}

static bool divide(Size *out, const Size *a, const Size *b) {
    if (b->n_terms != 1 || b->terms[0].coefficient == INT64_MIN || b->terms[0].coefficient == -1)
        return false;
    for (int i = 0; i < a->n_terms; i++) {
        SizeTerm term;
        if (!divide_term(&a->terms[i], &b->terms[0], &term) || !add_term(out, &term))
            return false;
    }
    return true;
}

/* ---- Names --------------------------------------------------------------------------------------------------------
 */

/* A text of at most SIZE_MAX_NAME characters; `n` counts on where there was no room. */
typedef struct {
    char text[SIZE_MAX_NAME + 1];
    size_t n;
} NameText;

static void append(NameText *name, const char *text) {
    size_t n = strlen(text);
    if (name->n + n <= SIZE_MAX_NAME)
        memcpy(name->text + name->n, text, n + 1);
    name->n += n;
}

static void append_term(const SizeAtoms *atoms, NameText *name, const SizeTerm *term) {
    bool has_number = term->n_atoms == 0 || (term->coefficient != 1 && term->coefficient != -1);
    if (!has_number && term->coefficient == -1)
        append(name, "-");
    if (has_number) {
        char number[24];
        snprintf(number, sizeof number, "%lld", (long long)term->coefficient);
        append(name, number);
    }
    for (int i = 0; i < term->n_atoms; i++) {
        append(name, i > 0 || has_number ? "*" : "");
        append(name, atoms->items[term->atoms[i]]);
    }
}

static void append_size(const SizeAtoms *atoms, NameText *name, const Size *size) {
    if (size->n_terms == 0)
        append(name, "0");
    for (int i = 0; i < size->n_terms; i++) {
        append(name, i > 0 && size->terms[i].coefficient > 0 ? "+" : "");
        append_term(atoms, name, &size->terms[i]);
    }
}

/* NULL where the text is too long. */
static const char *name_text(const SizeAtoms *atoms, const NameText *name) {
    return name->n <= SIZE_MAX_NAME ? arena_strdup(atoms->arena, name->text) : NULL;
}

const char *size_name(const SizeAtoms *atoms, const Size *size) {
    for (int i = 0; i < size->n_terms; i++) {
        if (size->terms[i].n_atoms > 0) {
            NameText name = {.n = 0};
            append_size(atoms, &name, size);
            return name_text(atoms, &name);
        }
    }
    return NULL;
}

Dim size_dim(const SizeAtoms *atoms, const Size *size) {
    return (Dim){.extent = size->value, .name = size_name(atoms, size)};
}

bool size_dims_match(const Dim *a, const Dim *b) {
    return dim_equal(a, b) && (a->name == NULL || b->name == NULL || strcmp(a->name, b->name) == 0);
}

/* ---- Arithmetic ---------------------------------------------------------------------------------------------------
 */

static bool value_binary(char sign, int64_t a, int64_t b, int64_t *out, const char **reason) {
    *reason = "the value does not fit 64 bits";
    switch (sign) {
    case '+':
        return !__builtin_add_overflow(a, b, out);
    case '-':
        return !__builtin_sub_overflow(a, b, out);
    case '*':
        return !__builtin_mul_overflow(a, b, out);
    default:
        *reason = b == 0 ? "division by zero" : "the division leaves a remainder";
        if (b == 0 || (a == INT64_MIN && b == -1) || a % b != 0)
            return false;
        *out = a / b;
        return true;
    }
}

/* In brackets where it is a sum, or a product to divide by. */
static void append_operand(const SizeAtoms *atoms, NameText *name, const Size *size, bool is_divisor) {
    bool is_sum = size->n_terms > 1;
    bool is_product = size->n_terms == 1 && size->terms[0].n_atoms + (size->terms[0].coefficient != 1) > 1;
    bool has_brackets = is_sum || (is_product && is_divisor);
    append(name, has_brackets ? "(" : "");
    append_size(atoms, name, size);
    append(name, has_brackets ? ")" : "");
}

/* The atom "(a/b)", or a plain number where that would be too long. */
static Size quotient(SizeAtoms *atoms, char sign, const Size *a, const Size *b, int64_t value) {
    NameText name = {.n = 0};
    append(&name, "(");
    append_operand(atoms, &name, a, false);
    append(&name, (char[]){sign, '\0'});
    append_operand(atoms, &name, b, sign == '/');
    append(&name, ")");
    const char *text = name_text(atoms, &name);
    Size size = text != NULL ? size_atom(atoms, text, value) : size_number(value);
    size.is_quotient = text != NULL;
    return size;
}

bool size_binary(SizeAtoms *atoms, char sign, const Size *a, const Size *b, Size *out, const char **reason) {
    int64_t value;
    if (!value_binary(sign, a->value, b->value, &value, reason))
        return false;
    Size result = {.value = value}; /* `out` may be one of the operands */
    bool is_polynomial;
    if (sign == '*')
        is_polynomial = multiply(&result, a, b);
    else if (sign == '/')
        is_polynomial = divide(&result, a, b);
    else
        is_polynomial = add_scaled(&result, a, 1) && add_scaled(&result, b, sign == '-' ? -1 : 1);
    *out = is_polynomial ? result : quotient(atoms, sign, a, b, value);
    return true;
}
