// RUN: %unit %s
/* Sizes: which expressions are one size, what they are called, and where polynomials end. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "frontend/size.h"

/* The size that `text` writes in reverse Polish notation over a = 6, b = 4, c = 2 and digits; `*reason` is NULL, or why
   there is none. */
static Size evaluate(SizeAtoms *atoms, const char *text, const char **reason) {
    Size stack[16] = {{0}};
    int n = 0;
    *reason = NULL;
    for (const char *at = text; *at != '\0'; at++) {
        if (*at >= '0' && *at <= '9') {
            stack[n++] = size_number(*at - '0');
        } else if (*at >= 'a' && *at <= 'c') {
            stack[n++] = size_atom(atoms, (char[]){*at, '\0'}, 2 * ('d' - *at));
        } else {
            n--;
            if (!size_binary(atoms, *at, &stack[n - 1], &stack[n], &stack[n - 1], reason))
                return stack[n - 1];
            *reason = NULL;
        }
    }
    return stack[0];
}

typedef struct {
    const char *text, *name;
    int64_t value;
} NameCase;

static void sums_and_products_have_one_form(void **state) {
    (void)state;
    static const NameCase cases[] = {
        {"a", "a", 6},
        {"5", NULL, 5},
        {"ab*", "a*b", 24},
        {"ba*", "a*b", 24},
        {"ab+a+", "2*a+b", 16},
        {"a1+b*", "a*b+b", 28},
        {"ab-", "a-b", 2},
        {"ab+b-", "a", 6},
        {"aa-", NULL, 0},
        {"aa-3+", NULL, 3},
        {"ab*b/", "a", 6},
        {"a2*2/", "a", 6},
        {"aa*b+c*", "a*a*c+b*c", 80},
        {"ac/", "(a/c)", 3},
        {"ac/c*", "c*(a/c)", 6},
        {"ac/ac/+", "2*(a/c)", 6},
        {"aaaaa****", "(a*a*a*a*a)", 7776},
        {"b1+5/", "((b+1)/5)", 1},
        {"abc*+7-", "b*c+a-7", 7},
        {"aa*ca*/", "(a*a/(a*c))", 3},
        {"ba-", "-a+b", -2},
        {"ab-ab-*", "a*a-2*a*b+b*b", 4},
        {"ab+c+1+ab+c+1+*", "((a+b+c+1)*(a+b+c+1))", 169},
    };
    Arena *arena = arena_new();
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        SizeAtoms atoms = {.arena = arena};
        size_atom(&atoms, "a", 6), size_atom(&atoms, "b", 4), size_atom(&atoms, "c", 2);
        const char *reason;
        Size size = evaluate(&atoms, cases[i].text, &reason);
        const char *name = size_name(&atoms, &size);
        if (reason != NULL || size.value != cases[i].value || (name == NULL) != (cases[i].name == NULL) ||
            (name != NULL && strcmp(name, cases[i].name) != 0))
            fail_msg("%s is %s=%lld, not %s=%lld", cases[i].text, name != NULL ? name : "(none)", (long long)size.value,
                     cases[i].name != NULL ? cases[i].name : "(none)", (long long)cases[i].value);
    }
    arena_free(arena);
}

static void what_has_no_value_says_why(void **state) {
    (void)state;
    static const struct {
        const char *text, *reason;
    } cases[] = {
        {"a0/", "division by zero"},
        {"ab/", "the division leaves a remainder"},
        {"a5/", "the division leaves a remainder"},
    };
    Arena *arena = arena_new();
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        SizeAtoms atoms = {.arena = arena};
        const char *reason;
        evaluate(&atoms, cases[i].text, &reason);
        assert_string_equal(reason, cases[i].reason);
    }
    SizeAtoms atoms = {.arena = arena};
    Size large = size_atom(&atoms, "large", INT64_MAX), two = size_number(2), out;
    const char *reason;
    assert_false(size_binary(&atoms, '*', &large, &two, &out, &reason));
    assert_string_equal(reason, "the value does not fit 64 bits");
    arena_free(arena);
}

/* Each step would double the text; the names end instead, and the value stays right. */
static void names_do_not_grow_without_end(void **state) {
    (void)state;
    Arena *arena = arena_new();
    SizeAtoms atoms = {.arena = arena};
    Size size = size_atom(&atoms, "d", 840), seven = size_number(7);
    const char *reason;
    assert_true(size_binary(&atoms, '/', &size, &seven, &size, &reason));
    for (int i = 0; i < 200; i++) {
        Size square;
        assert_true(size_binary(&atoms, '*', &size, &size, &square, &reason));
        assert_true(size_binary(&atoms, '/', &square, &size, &square, &reason));
        Size other = size_binary(&atoms, '+', &square, &seven, &other, &reason) ? other : square;
        assert_true(size_binary(&atoms, '-', &other, &seven, &size, &reason));
        const char *name = size_name(&atoms, &size);
        assert_true(name == NULL || strlen(name) <= SIZE_MAX_NAME);
        assert_int_equal(size.value, 120);
    }
    Size unnamed = size_atom(&atoms, "n", 3);
    char text[SIZE_MAX_NAME + 2];
    memset(text, 'n', sizeof text - 1);
    text[sizeof text - 1] = '\0';
    Size longest = size_atom(&atoms, text, 3);
    assert_null(size_name(&atoms, &longest));
    assert_non_null(size_name(&atoms, &unnamed));
    arena_free(arena);
}

static void dims_match_by_value_and_by_name(void **state) {
    (void)state;
    const Dim d = {.extent = 4, .name = "d"}, other = {.extent = 4, .name = "other"}, four = {.extent = 4};
    const Dim larger = {.extent = 5, .name = "d"};
    assert_true(size_dims_match(&d, &d));
    assert_true(size_dims_match(&d, &four));
    assert_true(size_dims_match(&four, &other));
    assert_false(size_dims_match(&d, &other));
    assert_false(size_dims_match(&d, &larger));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(sums_and_products_have_one_form),
        cmocka_unit_test(what_has_no_value_says_why),
        cmocka_unit_test(names_do_not_grow_without_end),
        cmocka_unit_test(dims_match_by_value_and_by_name),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
