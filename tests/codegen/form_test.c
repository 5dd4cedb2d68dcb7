// RUN: env MOEC_ROOT=%root %unit %s
/* The kernel form: what prints reads back, what the verifier refuses, what the interpreter computes. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "codegen/form.h"

static const Form *read_form(Arena *arena, const char *text) {
    const char *error;
    const Form *form = form_read(arena, text, strlen(text), &error);
    if (!form)
        fail_msg("%s in\n%s", error, text);
    return form;
}

static char *printed(Arena *arena, const Form *form) {
    char *buffer;
    size_t n_bytes;
    FILE *out = open_memstream(&buffer, &n_bytes);
    assert_non_null(out);
    form_print(out, form);
    fclose(out);
    char *text = arena_strndup(arena, buffer, n_bytes);
    free(buffer);
    return text;
}

/* ---- Text ------------------------------------------------------------------------------------------------------- */

static char *read_file(Arena *arena, const char *path) {
    FILE *in = fopen(path, "r");
    if (!in)
        fail_msg("cannot read %s", path);
    enum { CAPACITY = 1 << 16 };
    char *text = arena_array_of(arena, char, CAPACITY);
    assert_true(fread(text, 1, CAPACITY - 1, in) < CAPACITY - 1);
    fclose(in);
    return text;
}

static void examples_of_the_specification_read_back(void **state) {
    (void)state;
    Arena *arena = arena_new();
    const char *root = getenv("MOEC_ROOT");
    const char *at = read_file(arena, arena_printf(arena, "%s/spec/kernels.md", root ? root : "."));
    int n_examples = 0;
    for (; (at = strstr(at, "```\nform ")) != NULL; n_examples++) {
        at += strlen("```\n");
        const char *end = strstr(at, "```");
        assert_non_null(end);
        const char *text = arena_strndup(arena, at, (size_t)(end - at));
        assert_string_equal(printed(arena, read_form(arena, text)), text);
        at = end + 3;
    }
    assert_true(n_examples >= 3);
    arena_free(arena);
}

static void everything_that_a_form_can_hold_reads_back(void **state) {
    (void)state;
    static const char *const texts[] = {
        "form empty rows {\n}\n",
        "form all rows {\n"
        "  arg out f32[24] out\n"
        "  arg acc f32[4] inout\n"
        "  arg x f32[64] in\n"
        "  arg slots i32[6] in\n"
        "  row b 2\n"
        "  row t 3\n"
        "  col c 4\n"
        "  %0 = position slots[b*3 + t] / 2\n"
        "  %1 = load x[7 + %0*4 + c]\n"
        "  %2 = position slots[t]\n"
        "  %3 = load x[%2]\n"
        "  %4 = load slots[0]\n"
        "  %5 = const -inf\n"
        "  %6 = const nan\n"
        "  %7 = max_cols %1\n"
        "  %8 = sub %1, %7\n"
        "  %9 = gelu_tanh_grad %8, %3\n"
        "  %10 = sum_rows %9\n"
        "  %11 = index[2 + b*12 + c]\n"
        "  %12 = index[0]\n"
        "  %13 = less %11, %12\n"
        "  %14 = equal %13, %5\n"
        "  %15 = select %14, %3, %11\n"
        "  store out[b*12 + t*4 + c] = %9\n"
        "  add acc[c] += %10\n"
        "}\n",
        "form router route {\n"
        "  arg weights f32[12] out\n"
        "  arg chosen i32[12] out\n"
        "  arg load f32[4] out\n"
        "  arg starts i32[5] out\n"
        "  arg slots i32[12] out\n"
        "  arg rows i32[12] out\n"
        "  arg x f32[24] in\n"
        "  row t 6\n"
        "  col e 4\n"
        "  %0 = load x[t*4 + e]\n"
        "  %1 = sigmoid %0\n"
        "  yield %1\n"
        "  top_k 2\n"
        "  capacity 3\n"
        "  values weights\n"
        "  experts chosen\n"
        "  counts load\n"
        "  offsets starts\n"
        "  slot_of_row slots\n"
        "  row_of_slot rows\n"
        "}\n",
        "form moves rows {\n"
        "  arg y f32[12] out\n"
        "  arg n i32[4] out\n"
        "  arg x f32[6] in\n"
        "  arg w f32[9] in\n"
        "  arg p i32[2] in\n"
        "  arg o i32[4] in\n"
        "  row r 4\n"
        "  col c 3\n"
        "  %0 = position[-1 + r] / 2 below 2\n"
        "  %1 = position p[%0] below 3 else %0\n"
        "  %2 = group o[r] of 3\n"
        "  %3 = load w[%2*3 + c]\n"
        "  %4 = load x[%1*3 + c] else %3\n"
        "  store y[r*3 + c] = %4\n"
        "  store n[r] = %1\n"
        "}\n",
        "form histogram route {\n"
        "  arg load f32[4] out\n"
        "  arg chosen i32[12] in\n"
        "  row s 12\n"
        "  col e 4\n"
        "  given chosen\n"
        "  counts load\n"
        "}\n",
        "form grouped product {\n"
        "  arg out f32[24] out\n"
        "  arg a f32[64] in\n"
        "  arg b f32[32] in\n"
        "  arg starts i32[4] in\n"
        "  row g 3\n"
        "  row m 4\n"
        "  col n 2\n"
        "  ragged k groups 3 offsets starts\n"
        "  operand a = a[i + k*4]\n"
        "  part part k_minor {\n"
        "    row n 2\n"
        "    col k 16\n"
        "    %0 = load b[16 + k]\n"
        "    yield %0\n"
        "  }\n"
        "  product 0 = a, part k 16\n"
        "  %0 = sum 0\n"
        "  store out[g*8 + m*2 + n] = %0\n"
        "}\n",
        "form lists rows {\n"
        "  arg w f32[19] inout in_pieces\n"
        "  arg norm f32[1] out\n"
        "  arg scale f32[2] in\n"
        "  pieces 4, 12, 3\n"
        "  col i 19\n"
        "  %0 = load w[i]\n"
        "  %1 = load scale[1]\n"
        "  %2 = mul %0, %1\n"
        "  %3 = sum_cols %2\n"
        "  store w[i] = %2\n"
        "  store norm[0] = %3\n"
        "}\n",
    };
    Arena *arena = arena_new();
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++)
        assert_string_equal(printed(arena, read_form(arena, texts[i])), texts[i]);
    arena_free(arena);
}

static void equal_instructions_are_one(void **state) {
    (void)state;
    Arena *arena = arena_new();
    const Form *form = read_form(arena, "form f rows { arg y f32[8] out arg x f32[8] in row i 8 # a comment\n"
                                        "%a = load x[i] %b = load x[i] %c = const 2 %d = mul %a, %c %e = mul %c, %b\n"
                                        "%f = sub %d, %e store y[i] = %f }");
    assert_string_equal(printed(arena, form), "form f rows {\n"
                                              "  arg y f32[8] out\n"
                                              "  arg x f32[8] in\n"
                                              "  row i 8\n"
                                              "  %0 = load x[i]\n"
                                              "  %1 = const 2.0\n"
                                              "  %2 = mul %0, %1\n"
                                              "  %3 = sub %2, %2\n"
                                              "  store y[i] = %3\n"
                                              "}\n");
    arena_free(arena);
}

/* ---- Errors ----------------------------------------------------------------------------------------------------- */

typedef struct {
    const char *name, *text, *error;
} Case;

#define HEAD "form f rows { arg y f32[6] out arg z f32[3] inout arg x f32[6] in arg p i32[2] in row r 2 col c 3\n"
#define STORED "store y[r*3 + c] = %x }"
#define ROUTE "form f route { arg v f32[4] out arg e i32[4] out arg x f32[6] in row r 2 col c 3\n%x = load x[r*3 + c]\n"
#define PRODUCT "form f product { arg y f32[6] out arg x f32[8] in arg w f32[12] in arg p i32[4] in row r 2 col c 3\n"
#define PRODUCT_END "%s = sum 0 store y[r*3 + c] = %s }"

#define ATTENTION                                                                                                      \
    "form f attention { arg o f32[24] out arg l f32[6] out arg q f32[24] in arg k f32[12] in arg i i32[12] in "        \
    "row b 1 row t 3 row h 2 col d 4\n"
#define SIZES "shared 2 window 3 scale 0.5 tile queries 8 keys 8\n"
#define READ "tensor q = q[t*8 + h*4 + d] tensor k = k[t*4 + d] tensor v = k[t*4 + d]\n"
#define WRITTEN "tensor out = o[t*8 + h*4 + d] tensor logsumexp = l[h*3 + t] }"
#define PART_OF_Q(text)                                                                                                \
    ATTENTION SIZES "part q { row r 6 col c 4 " text " }\ntensor k = k[t*4 + d] tensor v = k[t*4 + d]\n" WRITTEN
#define BODY_OF_OUT(text) ATTENTION SIZES READ "body out { row r 6 col c 4 " text " }\ntensor logsumexp = l[h*3 + t] }"

/* clang-format off */
static const Case cases[] = {
    /* Text. */
    {"an empty text", "", "1:1: expected 'form', found the end of the text"},
    {"a kind that is none", "form f tiles {", "1:8: expected 'rows', found 'tiles'"},
    {"an argument of no dtype", "form f rows { arg x f33[1] in", "1:21: expected a dtype, found 'f33'"},
    {"an argument without elements",
     "form f rows { arg x f32[0] in", "1:25: expected a number of elements from 1 to 2^48, found '0'"},
    {"an access that is none", "form f rows { arg x f32[1] maybe", "1:28: expected in, out or inout, found 'maybe'"},
    {"nine indices",
     "form f rows { row a 1 row b 1 row c 1 row d 1 row e 1 row f 1 row g 1 row h 1 row i 1 }",
     "1:83: a body has at most 8 indices"},
    {"an argument that is not there", HEAD "%x = load w[0]", "2:11: expected an argument, found 'w'"},
    {"an index twice",
     HEAD "%x = load x[r + r]", "2:17: expected an offset, or an index that the map does not have yet, found 'r'"},
    {"a value that is not there", HEAD "%x = neg %y", "2:10: expected a value from above, found '%y'"},
    {"a value twice", HEAD "%x = const 1 %x = const 2", "2:14: %x is there twice"},
    {"an op that is none", HEAD "%x = norm %y", "2:6: expected an instruction with a value, found 'norm'"},
    {"a reduction of the IR", HEAD "%x = reduce_sum %y",
     "2:6: expected an instruction with a value, found 'reduce_sum'"},
    {"a line that is none", HEAD "load x[0]", "2:1: expected an instruction, found 'load'"},
    {"text behind the form", "form f rows { } form", "1:17: expected the end of the text, found 'form'"},
    {"an operand that is not there",
     PRODUCT "operand a = x[i*4 + k] product 0 = a, b", "2:39: expected an operand, found 'b'"},
    /* Names, indices. */
    {"two arguments of one name",
     "form f rows { arg x f32[1] in arg x f32[1] in }",
     "1:1: form f: argument 'x': a name must be an identifier of C, and no two are equal"},
    {"an f16 argument",
     "form f rows { arg x f16[1] in }", "1:1: form f: argument x is of f16; it can be of f32, bf16 or i32"},
    {"a sum of bf16", "form f rows { arg x bf16[1] inout\n%x = load x[0] add x[0] += %x }",
     "1:1: form f: instruction 1, add: argument x of bf16 is stored to; sums are of f32"},
    {"an i32 result", "form f product { arg x i32[1] out }", 
     "1:1: form f: argument x of integers can be no more than `out`, and that of rows"},
    {"two indices of one name", "form f rows { row i 1 col i 1 }", "1:1: form f: two indices have the name i"},
    {"a row behind a column", "form f rows { col i 1 row j 1 }",
     "1:1: form f: row index j stands behind a column's"},
    {"too many elements",
     "form f rows { row i 281474976710656 row j 2 }",
     "1:1: form f: index j runs to 2; an extent is at least 1, and all together at most 2^48"},
    /* Instructions. */
    {"a value of a position",
     HEAD "%p = position p[r] %x = neg %p " STORED,
     "1:1: form f: instruction 1, neg: %0 is a position, which only gathers and stores of integers take"},
    {"a value of a sum over rows",
     HEAD "%l = load x[r*3 + c] %s = sum_rows %l %x = neg %s " STORED,
     "1:1: form f: instruction 2, neg: %1 is a sum over rows, which only a store or an add reads"},
    {"a result of no product", HEAD "%x = sum 0 " STORED,
     "1:1: form f: instruction 0, sum: only the body of a product has its results"},
    {"a map past the end", HEAD "%x = load x[r*3 + c*2] " STORED,
     "1:1: form f: instruction 0, load: it reaches past the 6 elements of x"},
    {"an offset past the end", HEAD "%x = load x[6] " STORED,
     "1:1: form f: instruction 0, load: it reaches past the 6 elements of x"},
    {"a stride that overflows", HEAD "%x = load x[c*281474976710656] " STORED,
     "1:1: form f: instruction 0, load: it reaches past the 6 elements of x"},
    {"a gather by a value", HEAD "%p = load p[r] %x = load x[%p*3] " STORED,
     "1:1: form f: instruction 1, load: what it gathers by is no position from above"},
    {"a store that gathers", HEAD "%p = position p[r] %x = const 1 store y[%p*3] = %x }",
     "1:1: form f: instruction 2, store: only loads, positions that are read, and scatters gather"},
    {"an index that is gathered", HEAD "%p = position p[r] %x = index[%p] " STORED,
     "1:1: form f: instruction 1, index: only loads, positions that are read, and scatters gather"},
    {"an index of an argument", HEAD "%x = index x[c]", "2:12: expected '[', found 'x'"},
    {"an index that floats do not hold", HEAD "%x = index[16777214 + c] " STORED,
     "1:1: form f: instruction 0, index: it reaches past 2^24 - 1, and floats hold no more whole numbers"},
    {"a choice between one", HEAD "%a = index[c] %x = select %a, %a " STORED, "2:34: expected ',', found 'store'"},
    {"a gather past the end", HEAD "%p = position p[r] %x = load x[4 + %p*3 + c] " STORED,
     "1:1: form f: instruction 1, load: it reaches past the 6 elements of x"},
    {"a gather in place", HEAD "%p = position p[r] %x = load x[%p*0 + c] " STORED,
     "1:1: form f: instruction 1, load: a gather steps by 1 to 2^48 elements"},
    {"positions of floats", HEAD "%p = position x[r] %x = load x[%p] " STORED,
     "1:1: form f: instruction 0, position: positions are of i32"},
    {"a value in place of a position",
     HEAD "%p = position p[r] %x = const 1 %q = position p[%p] else %x %v = load x[%q] store y[r*3 + c] = %v }",
     "1:1: form f: instruction 2, position: %1 is no position"},
    {"a position in place of a value",
     HEAD "%p = position p[r] %x = load x[%p] else %p " STORED,
     "1:1: form f: instruction 1, load: %0 is a position, which only gathers and stores of integers take"},
    {"a position before the first element", HEAD "%p = position p[-1 + r] %x = load x[%p] " STORED,
     "1:1: form f: instruction 0, position: offsets and strides are not negative"},
    {"a position from too far before", HEAD "%p = position[-281474976710657 + r] %x = load x[%p] " STORED,
     "2:15: expected an integer from -2^48 to 2^48, found '-281474976710657'"},
    {"a number that is gathered", HEAD "%p = position p[r] %q = position[%p + r] %x = load x[%q] " STORED,
     "1:1: form f: instruction 1, position: only loads, positions that are read, and scatters gather"},
    {"no limit", HEAD "%p = position p[r] below 0 %x = load x[%p] " STORED,
     "2:26: expected a number of elements from 1 to 2^48, found '0'"},
    {"groups without offsets", HEAD "%p = group p[r] of 2 %x = load x[%p] " STORED,
     "1:1: form f: instruction 0, group: the offsets of 2 groups are 3 integers that are only read"},
    {"a position stored as a float", HEAD "%p = position p[r] store y[r*3 + c] = %p }",
     "1:1: form f: instruction 1, store: positions, and nothing else, are stored as integers"},
    {"a float stored as an integer", "form f rows { arg y i32[1] out %x = const 1 store y[0] = %x }",
     "1:1: form f: instruction 1, store: positions, and nothing else, are stored as integers"},
    {"a scatter to no position", HEAD "%x = load x[r*3 + c] scatter y[c] += %x }",
     "1:1: form f: instruction 1, scatter: it has no position to scatter to"},
    {"a scatter beside a store", HEAD "%p = position p[r] %x = load x[r*3 + c] scatter y[%p*3 + c] += %x "
          "store z[c] = %x }",
     "1:1: form f: instruction 2, scatter: instruction 3 adds up or writes something, beside a scatter"},
    {"a scatter by column", HEAD "%p = position[c] %x = load x[r*3 + c] scatter y[%p*3 + c] += %x }",
     "1:1: form f: instruction 2, scatter: where a row is scattered to, its position alone says"},
    {"a scatter by row too", HEAD "%p = position p[r] %x = load x[r*3 + c] scatter y[%p + r*3 + c*0] += %x }",
     "1:1: form f: instruction 2, scatter: where a row is scattered to, its position alone says"},
    {"a scatter of columns to one place", HEAD "%p = position p[r] %x = load x[r*3 + c] scatter y[%p] += %x }",
     "1:1: form f: instruction 2, scatter: all columns of a row are scattered to one element"},
    {"a load of what is written", HEAD "%x = load y[r] " STORED,
     "1:1: form f: instruction 0, load: argument y is only written"},
    {"a gather from what is updated", HEAD "%p = position p[r] %x = load z[%p + c*0] " STORED,
     "1:1: form f: instruction 1, load: argument z is written, and elements of it are read only where they are"},
    {"a load of what is written elsewhere", HEAD "%x = load z[0] %s = sum_rows %x add z[c] += %s " STORED,
     "1:1: form f: instruction 0, load: instruction 2 writes z elsewhere"},
    {"a load of what has been written", HEAD "%l = load x[c] %s = sum_rows %l store z[c] = %s %x = load z[c] " STORED,
     "1:1: form f: instruction 3, load: instruction 2 writes z before"},
    /* Writes. */
    {"a store to an input", HEAD "%x = const 1 store x[c] = %x " STORED,
     "1:1: form f: instruction 1, store: argument x is only read"},
    {"an add to a result", HEAD "%x = const 1 add y[c] += %x " STORED,
     "1:1: form f: instruction 1, add: argument y is not inout"},
    {"a store on itself", HEAD "%x = const 1 store y[r + c] = %x }",
     "1:1: form f: instruction 1, store: it writes elements of y more than once"},
    {"columns lost", HEAD "%x = load x[r*3 + c] add z[r] += %x " STORED,
     "1:1: form f: instruction 1, add: it writes elements of z more than once"},
    {"rows lost", HEAD "%x = load x[r*3 + c] add z[c] += %x " STORED,
     "1:1: form f: instruction 1, add: it writes elements of z more than once"},
    {"two stores to one place", HEAD "%x = const 1 store y[r*3 + c] = %x " STORED,
     "1:1: form f: instruction 2, store: it writes elements of y that instruction 1 writes"},
    {"two stores that interleave",
     "form f rows { arg y f32[8] out row r 2 col c 2 %x = const 1 store y[r*4 + c] = %x store y[3 + r*4 + c] = %x }",
     "1:1: form f: instruction 2, store: it reaches past the 8 elements of y"},
    {"two stores that overlap",
     "form f rows { arg y f32[8] out row r 2 col c 2 %x = const 1 store y[r*4 + c] = %x store y[1 + r*4 + c] = %x }",
     "1:1: form f: instruction 2, store: it writes elements of y that instruction 1 writes"},
    {"columns stored to rows", HEAD "%l = load x[r*3 + c] %x = sum_rows %l " STORED,
     "1:1: form f: instruction 2, store: a value of columns has no rows to be written to"},
    {"an element that is not written",
     "form f rows { arg y f32[7] out row r 2 col c 3 %x = const 1 store y[r*3 + c] = %x }",
     "1:1: form f: 6 of the 7 elements of y are written"},
    {"a body that yields", HEAD "%x = const 1 store y[r*3 + c] = %x yield %x }",
     "1:1: form f: a part yields a value, a route its scores, and no other body does"},
    /* Pieces. */
    {"pieces without a number", "form f rows { arg x f32[3] in in_pieces pieces 2, , 3",
     "1:51: expected a number of elements from 1 to 2^48, found ','"},
    {"pieces of another number of columns",
     "form f rows { arg x f32[5] in in_pieces pieces 2, 3 col i 6 }",
     "1:1: form f: of a form in pieces, one column index counts through all 5 columns of these"},
    {"pieces of rows", "form f rows { pieces 2, 3 row i 5 }",
     "1:1: form f: of a form in pieces, one column index counts through all 5 columns of these"},
    {"an argument in pieces that are not there", "form f rows { arg x f32[5] in in_pieces col i 5 }",
     "1:1: form f: argument x is not in the form's pieces"},
    {"an argument with more than the pieces", "form f rows { arg x f32[6] in in_pieces pieces 2, 3 col i 5 }",
     "1:1: form f: argument x is not in the form's pieces"},
    {"a step over pieces", "form f rows { arg x f32[5] in in_pieces pieces 2, 3 col i 5 %0 = load x[0] }",
     "1:1: form f: instruction 0, load: what is in pieces is read and written column by column"},
    {"what varies beside pieces", "form f rows { arg x f32[5] in pieces 2, 3 col i 5 %0 = load x[i] }",
     "1:1: form f: instruction 0, load: what is not in pieces is the same for all columns"},
    {"an index beside pieces", "form f rows { pieces 2, 3 col i 5 %0 = index[i] }",
     "1:1: form f: instruction 0, index: what is not in pieces is the same for all columns"},
    {"a sum over rows beside pieces",
     "form f rows { arg x f32[5] in in_pieces pieces 2, 3 col i 5 %0 = load x[i] %1 = sum_rows %0 }",
     "1:1: form f: a form in pieces has no sums over rows"},
    /* Attention. */
    {"attention without sizes", ATTENTION READ, "2:1: expected 'shared', found 'tensor'"},
    {"attention without a tensor", ATTENTION SIZES "tensor q = q[t] tensor v", "3:24: expected 'k', found 'v'"},
    {"attention with text behind it", ATTENTION SIZES READ "tensor out = o[t] tensor logsumexp = l[t] tensor dq",
     "4:43: expected an instruction, found 'tensor'"},
    {"a tensor of no argument", ATTENTION SIZES "tensor q = w[t]", "3:12: expected an argument, found 'w'"},
    {"attention with two indices",
     "form f attention { arg o f32[2] out row t 2 col d 1 " SIZES
     "tensor q = o[t] tensor k = o[t] tensor v = o[t] tensor out = o[t] tensor logsumexp = o[t] }",
     "1:1: form f: attention has three row indices, of sequences, positions and heads, and one of columns"},
    {"attention with instructions",
     ATTENTION SIZES READ "tensor out = o[t*8 + h*4 + d] tensor logsumexp = l[h*3 + t] %0 = const 1 }",
     "1:1: form f: attention has no instructions"},
    {"heads that are not shared out", ATTENTION "shared 3 window 3 scale 0.5 tile queries 8 keys 8\n" READ WRITTEN,
     "1:1: form f: 2 heads are no multiple of the 3 that share keys"},
    {"a window past all positions", ATTENTION "shared 2 window 4 scale 0.5 tile queries 8 keys 8\n" READ WRITTEN,
     "1:1: form f: a window of 4; it is of 1 to all 3 positions"},
    {"a scale that is no number", ATTENTION "shared 2 window 3 scale nan tile queries 8 keys 8\n" READ WRITTEN,
     "1:1: form f: its scale is not finite"},
    {"a tile that is too large", ATTENTION "shared 2 window 3 scale 0.5 tile queries 8 keys 257\n" READ WRITTEN,
     "1:1: form f: a tile has from 1 to 256 queries, and as many keys"},
    {"a tensor past the end",
     ATTENTION SIZES "tensor q = q[1 + t*8 + h*4 + d] tensor k = k[t*4 + d] tensor v = k[t*4 + d]\n" WRITTEN,
     "1:1: form f: tensor q: it reaches past the 24 elements of q"},
    {"keys in as many heads as queries",
     ATTENTION "shared 1 window 3 scale 0.5 tile queries 8 keys 8\n"
     "tensor q = q[t*8 + h*4 + d] tensor k = k[t*4 + h*4 + d] tensor v = k[t*4 + d]\n" WRITTEN,
     "1:1: form f: tensor k: it reaches past the 12 elements of k"},
    {"a tensor of integers",
     ATTENTION SIZES "tensor q = q[t*8 + h*4 + d] tensor k = i[t*4 + d] tensor v = k[t*4 + d]\n" WRITTEN,
     "1:1: form f: tensor k: argument i is not of f32 or bf16 and `in`"},
    {"a result that is read", ATTENTION SIZES READ "tensor out = q[t*8 + h*4 + d] tensor logsumexp = l[h*3 + t] }",
     "1:1: form f: tensor out: argument q is not of f32 or bf16 and `out`"},
    {"vectors whose elements are apart",
     ATTENTION SIZES "tensor q = q[t*8 + h + d*2] tensor k = k[t*4 + d] tensor v = k[t*4 + d]\n" WRITTEN,
     "1:1: form f: tensor q: elements of a vector follow each other"},
    {"a logsumexp of columns",
     ATTENTION SIZES READ "tensor out = o[t*8 + h*4 + d] tensor logsumexp = l[h*3 + t + d] }",
     "1:1: form f: tensor logsumexp: it does not vary by column"},
    {"heads stored on each other",
     ATTENTION SIZES READ "tensor out = o[t*8 + d] tensor logsumexp = l[h*3 + t] }",
     "1:1: form f: tensor out: it writes elements of o more than once"},
    {"an element that is not attended",
     "form f attention { arg o f32[2] out arg l f32[2] out arg q f32[2] in row b 1 row t 1 row h 1 col d 1\n"
     "shared 1 window 1 scale 1 tile queries 1 keys 1 tensor q = q[d] tensor k = q[d] tensor v = q[d]\n"
     "tensor out = o[d] tensor logsumexp = l[0] }",
     "1:1: form f: tensor out: 1 of the 2 elements of o are written"},
    {"results in one argument",
     "form f attention { arg o f32[1] out arg q f32[2] in row b 1 row t 1 row h 1 col d 1\n"
     "shared 1 window 1 scale 1 tile queries 1 keys 1 tensor q = q[d] tensor k = q[d] tensor v = q[d]\n"
     "tensor out = o[d] tensor logsumexp = o[0] }",
     "1:1: form f: 2 results are in argument o"},
    {"a part that writes", PART_OF_Q("%x = load q[r*4 + c] store o[r*4 + c] = %x yield %x"),
     "1:1: form f: part q: instruction 1, store: a part writes nothing"},
    {"a part of attention without a value", PART_OF_Q("%x = load q[r*4 + c]"),
     "1:1: form f: part q: a part yields a value, a route its scores, and no other body does"},
    {"a part that sums", PART_OF_Q("%x = load q[r*4 + c] %s = sum_cols %x yield %s"),
     "1:1: form f: part q: instruction 1, sum_cols: attention has no reductions"},
    {"a part of other rows",
     ATTENTION SIZES "part q { row r 3 col c 4 %x = load q[r*8 + c] yield %x }\n"
     "tensor k = k[t*4 + d] tensor v = k[t*4 + d]\n" WRITTEN,
     "1:1: form f: part q: it is [3, 4], and the tensor [6, 4]"},
    {"a part that reads a result", PART_OF_Q("%x = result[c] yield %x"),
     "1:1: form f: part q: instruction 0, result: only the body of a result of attention has its elements"},
    {"a result of rows", HEAD "%x = result[c] " STORED,
     "1:1: form f: instruction 0, result: only the body of a result of attention has its elements"},
    {"a body of an operand", ATTENTION SIZES "body q { }", "3:1: expected 'tensor', found 'body'"},
    {"a column past a result", BODY_OF_OUT("%x = result[1 + c] store o[r*4 + c] = %x"),
     "1:1: form f: body out: instruction 0, result: it reaches past the 4 columns of a result"},
    {"another row of a result",
     ATTENTION SIZES READ "body out { row t 3 row h 2 col c 4 %x = result[h] store o[t*8 + h*4 + c] = %x }\n"
     "tensor logsumexp = l[h*3 + t] }",
     "1:1: form f: body out: instruction 0, result: a result's element in the row is told by its column alone"},
    {"a body that yields", BODY_OF_OUT("%x = result[c] store o[r*4 + c] = %x yield %x"),
     "1:1: form f: body out: a part yields a value, a route its scores, and no other body does"},
    {"a body that writes once a row", BODY_OF_OUT("%x = result[0] store o[r] = %x"),
     "1:1: form f: body out: instruction 1, store: what a result's body writes has an element for each row and column"},
    {"a body that leaves elements out", BODY_OF_OUT("%x = result[c]"), "1:1: form f: 0 results are in argument o"},
    {"a body that writes where another result is", BODY_OF_OUT("%x = result[c] store o[r*4 + c] = %x add l[r] += %x"),
     "1:1: form f: body out: instruction 2, add: argument l is not inout"},
    {"a logsumexp with a body",
     ATTENTION SIZES READ "tensor out = o[t*8 + h*4 + d] body logsumexp { row r 6 %x = result[0] store l[r] = %x } }",
     "1:1: form f: a logsumexp has no body"},
    {"a body that reads what another writes",
     "form f attention_grad { arg a f32[4] inout arg b f32[4] out arg c f32[4] out arg x f32[4] in arg l f32[1] in\n"
     "row b 1 row t 1 row h 1 col d 4 shared 1 window 1 scale 1 tile queries 1 keys 1\n"
     "tensor q = x[d] tensor k = x[d] tensor v = x[d] tensor out = x[d] tensor logsumexp = l[0] tensor dout = x[d]\n"
     "body dq { col d 4 %x = result[d] store a[d] = %x }\n"
     "body dk { col d 4 %x = load a[d] store b[d] = %x } tensor dv = c[d] }",
     "1:1: form f: a result's body reads argument a, which another one writes"},
    /* Routes. */
    {"a result that is none", ROUTE "yield %x top_k 2 weights v }",
     "3:18: expected a result of a route, found 'weights'"},
    {"a result twice", ROUTE "yield %x top_k 2 values v values v }", "3:34: values is there twice"},
    {"a route that does not choose", ROUTE "yield %x values v }", "3:10: expected 'top_k', found 'values'"},
    {"a route without scores", ROUTE "}", "3:1: expected 'top_k', found '}'"},
    {"scores that are sums over rows", ROUTE "%s = sum_rows %x yield %s top_k 2 experts e values v }",
     "1:1: form f: what it yields is no value of rows"},
    {"a route without results",
     "form f route { arg x f32[6] in row r 2 col c 3 %x = load x[r*3 + c] yield %x top_k 2 }",
     "1:1: form f: it has no results"},
    {"more choices than columns", ROUTE "yield %x top_k 4 values v experts e }",
     "1:1: form f: a row chooses 4 of 3 columns"},
    {"values of another number", ROUTE "yield %x top_k 1 values v experts e }",
     "1:1: form f: its values are an f32[2] out"},
    {"values of another dtype", ROUTE "yield %x top_k 2 values e counts v }",
     "1:1: form f: its values are an f32[4] out"},
    {"two results in one place", ROUTE "yield %x top_k 2 experts e row_of_slot e values v }",
     "1:1: form f: argument e is to hold two results"},
    {"rows without their slots", ROUTE "yield %x top_k 2 values v slot_of_row e }",
     "1:1: form f: slot_of_row takes row_of_slot, which holds the experts meanwhile"},
    {"a sum over rows in a route",
     "form f route { arg v f32[4] out arg y f32[3] out arg x f32[6] in row r 2 col c 3\n"
     "%x = load x[r*3 + c] %s = sum_rows %x store y[c] = %s yield %x top_k 2 values v }",
     "1:1: form f: a route has no sums over rows"},
    {"a route that writes its values itself",
     "form f route { arg v f32[6] out arg x f32[6] in row r 2 col c 3\n"
     "%x = load x[r*3 + c] store v[r*3 + c] = %x yield %x top_k 3 values v }",
     "1:1: form f: 12 of the 6 elements of v are written"},
    {"too many computed scores",
     "form f route { arg v f32[2] out arg x f32[10000] in row r 2 col c 5000\n"
     "%x = load x[r*5000 + c] %y = neg %x yield %y top_k 1 values v }",
     "1:1: form f: of 5000 columns scores are just loaded, dense, and nothing is written"},
    {"experts chosen and given", "form f route { arg v i32[2] out arg p i32[2] in row r 2 col c 3 given p experts v }",
     "1:1: form f: where experts are given, nothing is chosen"},
    {"experts given as floats", "form f route { arg n f32[3] out arg p f32[2] in row r 2 col c 3 given p counts n }",
     "1:1: form f: the experts that are given are i32[2] in"},
    {"slots that have no number",
     "form f route { arg n f32[3] out arg p i32[4294967296] in row r 4294967296 col c 3 given p counts n }",
     "1:1: form f: slots and experts are less than 2^31"},
    /* Products. */
    {"no products", PRODUCT "}", "1:1: form f: 0 of the 6 elements of y are written"},
    {"no products and no results", "form f product { row r 2 }", "1:1: form f: it has no products"},
    {"an operand of no stride 1",
     PRODUCT "operand a = x[i*4 + k*2] operand b = w[i*4 + k] product 0 = a, b k 4 " PRODUCT_END,
     "1:1: form f: operand a has no stride of 1"},
    {"an operand past the end",
     PRODUCT "operand a = x[1 + i*4 + k] operand b = w[i*4 + k] product 0 = a, b k 4 " PRODUCT_END,
     "1:1: form f: operand a reaches past the 8 elements of x"},
    {"an operand of integers",
     PRODUCT "operand a = p[i + k] operand b = w[i*4 + k] product 0 = a, b k 2 " PRODUCT_END,
     "1:1: form f: operand a: argument p is not of f32 or bf16 and only read"},
    {"an operand of bf16 and one of f32",
     "form f product { arg y f32[6] out arg x bf16[8] in arg w f32[12] in row r 2 col c 3\n"
     "operand a = x[i*4 + k] operand b = w[i*4 + k] product 0 = a, b k 4 " PRODUCT_END,
     "1:1: form f: operands a and b: one is of bf16 in memory, the other is not"},
    {"too few positions",
     PRODUCT "operand a = x[k] operand b = w[i + k*3] gather p product 0 = a, b k 6 " PRODUCT_END,
     "1:1: form f: operand b is gathered by 6 integers that are only read"},
    {"positions of floats in an operand",
     PRODUCT "operand a = x[i*4 + k] gather w operand b = w[i*4 + k] product 0 = a, b k 4 " PRODUCT_END,
     "1:1: form f: operand a is gathered by 2 integers that are only read"},
    {"a first operand that is packed",
     PRODUCT "operand a = x[i*4 + k] packed operand b = w[i*4 + k] product 0 = a, b k 4 " PRODUCT_END,
     "1:1: form f: operand a can't be packed: it is not the second of its products, or is gathered, or ragged in k"},
    {"an operand that is packed and gathered",
     PRODUCT "operand a = x[k] operand b = w[i + k*3] gather p packed product 0 = a, b k 2 " PRODUCT_END,
     "1:1: form f: operand b can't be packed: it is not the second of its products, or is gathered, or ragged in k"},
    {"an operand that is not used",
     PRODUCT "operand a = x[i*4 + k] operand b = w[i*4 + k] operand d = w[i + k] product 0 = a, b k 4 " PRODUCT_END,
     "1:1: form f: operand d is in no product"},
    {"two operands of one name",
     PRODUCT "operand a = x[i*4 + k] operand a = w[i*4 + k] product 0 = a, a k 4 " PRODUCT_END,
     "1:1: form f: two operands have the name a"},
    {"a result that no product makes",
     PRODUCT "operand a = x[i*4 + k] operand b = w[i*4 + k] product 1 = a, b k 4 " PRODUCT_END,
     "1:1: form f: no product makes result 0"},
    {"a result that is not there",
     PRODUCT "operand a = x[i*4 + k] operand b = w[i*4 + k] product 0 = a, b k 4 %t = sum 1 " PRODUCT_END,
     "1:1: form f: instruction 0, sum: there is no result 1"},
    {"a part of another shape",
     PRODUCT "operand a = x[i*4 + k] part b k_major { row n 3 col k 4 %l = load w[n*4 + k] yield %l } "
             "product 0 = a, b k 4 " PRODUCT_END,
     "1:1: form f: part b: it is [3, 4], and its product's operand [4, 3], k first"},
    {"a part without a value",
     PRODUCT "operand a = x[i*4 + k] part b k_minor { row n 3 col k 4 %l = load w[n*4 + k] } "
             "product 0 = a, b k 4 " PRODUCT_END,
     "1:1: form f: part b: a part yields a value, a route its scores, and no other body does"},
    {"a part that writes",
     PRODUCT "operand a = x[i*4 + k] part b k_minor { row n 3 col k 4 %l = const 1 store y[n] = %l yield %l } "
             "product 0 = a, b k 4 " PRODUCT_END,
     "1:1: form f: part b: instruction 1, store: a part writes nothing"},
    {"a reduction in a product",
     PRODUCT "operand a = x[i*4 + k] operand b = w[i*4 + k] product 0 = a, b k 4 %t = sum 0 %u = sum_cols %t "
             "store y[r*3 + c] = %u }",
     "1:1: form f: instruction 1, sum_cols: a product has no reductions"},
    {"a row of a product",
     "form f product { arg y f32[2] out arg x f32[8] in arg w f32[12] in row r 2 col c 3 "
     "operand a = x[i*4 + k] operand b = w[i*4 + k] product 0 = a, b k 4 %t = const 1 store y[r] = %t }",
     "1:1: form f: instruction 1, store: what a product writes has an element for each row and column"},
    {"too few offsets",
     PRODUCT "ragged rows groups 4 offsets p",
     "2:31: expected an instruction, found the end of the text"},
    {"offsets that are too few",
     PRODUCT "ragged rows groups 4 offsets p }",
     "1:1: form f: the offsets of 4 groups are 5 integers that are only read"},
    {"rows that groups do not share",
     PRODUCT "ragged k groups 3 offsets p }", "1:1: form f: 3 groups do not have 2 rows together"},
};
/* clang-format on */

static void error_test(void **state) {
    const Case *at = *state;
    Arena *arena = arena_new();
    const char *error = NULL;
    assert_null(form_read(arena, at->text, strlen(at->text), &error));
    assert_string_equal(error, at->error);
    arena_free(arena);
}

/* What text cannot say. */
static void forms_that_were_broken_are_refused(void **state) {
    (void)state;
    Arena *arena = arena_new();
    const char *text = HEAD "%x = load x[r*3 + c] " STORED;
    const char *error;
    Form *form = form_read(arena, text, strlen(text), &error);
    assert_null(form_verify(arena, form));
    FormInstr *load = &form->body.instrs[0], *store = &form->body.instrs[1];
    load->level = FORM_LEVEL_ROW;
    assert_string_equal(form_verify(arena, form),
                        "form f: instruction 0, load: its level does not follow from those of its operands");
    load->level = FORM_LEVEL_FULL;
    store->a = 1;
    assert_string_equal(form_verify(arena, form), "form f: instruction 1, store: an operand does not come before it");
    store->a = 0;
    load->map.strides[1] = -1;
    assert_string_equal(form_verify(arena, form), "form f: instruction 0, load: offsets and strides are not negative");
    arena_free(arena);
}

/* ---- Joining indices -------------------------------------------------------------------------------------------- */

static void indices_that_all_maps_run_through_evenly_are_joined(void **state) {
    (void)state;
    Arena *arena = arena_new();
    const char *error, *text = "form f rows { arg y f32[720] out arg x f32[720] in arg s f32[30] in\n"
                               "row b 2 row one 1 row t 3 row h 4 col i 5 col j 6\n"
                               "%0 = load x[b*360 + t*120 + h*30 + i*6 + j] %1 = load s[i*6 + j]\n"
                               "%2 = mul %0, %1 store y[b*360 + t*30 + h*90 + i*6 + j] = %2 }";
    Form *form = form_read(arena, text, strlen(text), &error);
    assert_non_null(form);
    form_merge_indices(form);
    assert_null(form_verify(arena, form));
    assert_string_equal(printed(arena, form), "form f rows {\n"
                                              "  arg y f32[720] out\n"
                                              "  arg x f32[720] in\n"
                                              "  arg s f32[30] in\n"
                                              "  row b 2\n"
                                              "  row t 3\n"
                                              "  row h 4\n"
                                              "  col j 30\n"
                                              "  %0 = load x[b*360 + t*120 + h*30 + j]\n"
                                              "  %1 = load s[j]\n"
                                              "  %2 = mul %0, %1\n"
                                              "  store y[b*360 + t*30 + h*90 + j] = %2\n"
                                              "}\n");
    arena_free(arena);
}

/* ---- Values ----------------------------------------------------------------------------------------------------- */

static void run(Arena *arena, const char *text, double *const *args) {
    const char *error = form_interpret(arena, read_form(arena, text), args);
    if (error)
        fail_msg("%s", error);
}

static void expect(const double *actual, const double *expected, int n) {
    for (int i = 0; i < n; i++) {
        if (fabs(actual[i] - expected[i]) > 1e-12)
            fail_msg("element %d is %g, expected %g", i, actual[i], expected[i]);
    }
}

static void softmax_is_computed_by_rows(void **state) {
    (void)state;
    Arena *arena = arena_new();
    double y[6], x[6] = {0, log(2), log(5), 1, 1, 1}, maxima[2], sums[3] = {1, 0, 0};
    run(arena,
        "form f rows { arg y f32[6] out arg m f32[2] out arg s f32[3] inout arg x f32[6] in row r 2 col c 3\n"
        "%x = load x[r*3 + c] %m = max_cols %x %d = sub %x, %m %e = exp %d %s = sum_cols %e %p = div %e, %s\n"
        "%all = sum_rows %p store y[r*3 + c] = %p store m[r] = %m add s[c] += %all }",
        (double *[]){y, maxima, sums, x});
    expect(y, (double[]){1 / 8., 2 / 8., 5 / 8., 1 / 3., 1 / 3., 1 / 3.}, 6);
    expect(maxima, (double[]){log(5), 1}, 2);
    expect(sums, (double[]){1 + 1 / 8. + 1 / 3., 2 / 8. + 1 / 3., 5 / 8. + 1 / 3.}, 3);
    arena_free(arena);
}

static void positions_gather_and_negative_ones_read_zero(void **state) {
    (void)state;
    Arena *arena = arena_new();
    double y[8], x[6] = {1, 2, 3, 4, 5, 6}, slots[4] = {5, -1, 0, 3};
    run(arena,
        "form f rows { arg y f32[8] out arg x f32[6] in arg p i32[4] in row r 4 col c 2\n"
        "%p = position p[r] / 2 %x = load x[%p*2 + c] store y[r*2 + c] = %x }",
        (double *[]){y, x, slots});
    expect(y, (double[]){5, 6, 0, 0, 1, 2, 3, 4}, 8);
    arena_free(arena);
}

static void what_is_not_read_has_another_value(void **state) {
    (void)state;
    Arena *arena = arena_new();
    static double y[12], n[4], x[] = {1, 2, 3, 4, 5, 6}, w[] = {10, 20, 30, 40, 50, 60, 70, 80, 90};
    static double p[] = {1, -1}, o[] = {0, 1, 1, 3};
    run(arena,
        "form f rows { arg y f32[12] out arg n i32[4] out arg x f32[6] in arg w f32[9] in arg p i32[2] in\n"
        "arg o i32[4] in row r 4 col c 3 %p = position[-1 + r] / 2 below 2 %q = position p[%p] below 3 else %p\n"
        "%g = group o[r] of 3 %e = load w[%g*3 + c] %x = load x[%q*3 + c] else %e\n"
        "store y[r*3 + c] = %x store n[r] = %q }",
        (double *[]){y, n, x, w, p, o});
    /* Positions -1, 0, 0, 1 read none, 1, 1 and -1; groups of the rows are 0, 2, 2 and none. */
    expect(n, (double[]){-1, 1, 1, -1}, 4);
    expect(y, (double[]){10, 20, 30, 4, 5, 6, 4, 5, 6, 0, 0, 0}, 12);
    arena_free(arena);
}

static void scatters_add_up_from_zero_or_what_was_there(void **state) {
    (void)state;
    Arena *arena = arena_new();
    static double y[] = {7, 7, 7, 7}, x[] = {1, 2, 3, 4, 5, 6}, p[] = {1, -1, 1};
    static const char *const accesses[] = {"out", "inout"};
    for (int i = 0; i < 2; i++) {
        run(arena,
            arena_printf(arena,
                         "form f rows { arg y f32[4] %s arg x f32[6] in arg p i32[3] in row r 3 col c 2\n"
                         "%%p = position p[r] %%x = load x[r*2 + c] scatter y[%%p*2 + c] += %%x }",
                         accesses[i]),
            (double *[]){y, x, p});
        expect(y, (double[]){0, 0, 6 * (i + 1), 8 * (i + 1)}, 4);
    }
    arena_free(arena);
}

/* Scores of 0, so that what is seen has equal weights, in a window of two; positions lie before heads, or behind. */
static void attention_is_a_mean_of_what_is_seen(void **state) {
    (void)state;
    Arena *arena = arena_new();
    double out[6], logsumexp[6], q[6] = {0}, k[3] = {5, 6, 7}, v[4] = {9, 2, 4, 8};
    run(arena,
        "form f attention { arg o f32[6] out arg l f32[6] out arg q f32[6] in arg k f32[3] in arg v f32[4] in\n"
        "row b 1 row t 3 row h 2 col d 1 shared 2 window 2 scale 2 tile queries 6 keys 48\n"
        "tensor q = q[t + h*3 + d] tensor k = k[t + d] tensor v = v[1 + t + d]\n"
        "tensor out = o[t + h*3 + d] tensor logsumexp = l[t*2 + h] }",
        (double *[]){out, logsumexp, q, k, v});
    expect(out, (double[]){2, 3, 6, 2, 3, 6}, 6);
    expect(logsumexp, (double[]){0, 0, log(2), log(2), log(2), log(2)}, 6);
    arena_free(arena);
}

/* The same backward: of a weight of a half the scores' gradients are dout (v - out) / 2. */
static void gradients_of_attention_follow_its_weights(void **state) {
    (void)state;
    Arena *arena = arena_new();
    double dq[2], dk[2], dv[2], q[2] = {0, 0}, k[2] = {5, 7}, v[2] = {2, 4}, out[2] = {2, 3}, l[2] = {0, log(2)};
    double dout[2] = {10, 4};
    run(arena,
        "form f attention_grad { arg dq f32[2] out arg dk f32[2] out arg dv f32[2] out arg q f32[2] in\n"
        "arg k f32[2] in arg v f32[2] in arg o f32[2] in arg l f32[2] in arg d f32[2] in\n"
        "row b 1 row t 2 row h 1 col d 1 shared 1 window 2 scale 3 tile queries 6 keys 48\n"
        "tensor q = q[t + d] tensor k = k[t + d] tensor v = v[t + d] tensor out = o[t + d] tensor logsumexp = l[t]\n"
        "tensor dout = d[t + d] tensor dq = dq[t + d] tensor dk = dk[t + d] tensor dv = dv[t + d] }",
        (double *[]){dq, dk, dv, q, k, v, out, l, dout});
    expect(dq, (double[]){0, 3 * (2 * 7 - 2 * 5)}, 2);
    expect(dk, (double[]){0, 0}, 2);
    expect(dv, (double[]){12, 2}, 2);
    arena_free(arena);
}

/* Queries are turned by a quarter, and so are the means: halves change places, the one that becomes the first with its
   sign changed. What is stored is added to what was there. */
static void attention_computes_operands_and_does_with_results(void **state) {
    (void)state;
    Arena *arena = arena_new();
    double out[4] = {100, 200, 300, 400}, logsumexp[2], q[4] = {1, 2, 3, 4}, k[4] = {1, 0, 0, 1}, v[4] = {5, 6, 7, 9};
    run(arena,
        "form f attention { arg o f32[4] inout arg l f32[2] out arg q f32[4] in arg k f32[4] in arg v f32[4] in\n"
        "row b 1 row t 2 row h 1 col d 2 shared 1 window 2 scale 1 tile queries 48 keys 48\n"
        "part q { row t 2 col half 2 %h = index[half] %x = load q[1 + t*2] %y = load q[t*2] %n = neg %x\n"
        "%z = select %h, %y, %n yield %z }\n"
        "tensor k = k[t*2 + d] tensor v = v[t*2 + d]\n"
        "body out { row t 2 col half 2 %h = index[half] %x = result[1] %y = result[0] %n = neg %x\n"
        "%z = select %h, %y, %n add o[t*2 + half] += %z }\n"
        "tensor logsumexp = l[t] }",
        (double *[]){out, logsumexp, q, k, v});
    double weight = exp(-4) / (exp(-4) + exp(3)); /* of the first key for the second query, (-4, 3) */
    expect(logsumexp, (double[]){-2, log(exp(-4) + exp(3))}, 2);
    expect(out,
           (double[]){100 - 6, 200 + 5, 300 - (6 * weight + 9 * (1 - weight)), 400 + 5 * weight + 7 * (1 - weight)}, 4);
    arena_free(arena);
}

static void updates_write_what_they_have_read(void **state) {
    (void)state;
    Arena *arena = arena_new();
    double w[4] = {1, 2, 3, 4}, m[4] = {0, 1, 0, 1}, norm[1];
    run(arena,
        "form f rows { arg w f32[4] inout arg m f32[4] inout arg n f32[1] out col c 4 %w = load w[c] %m = load m[c]\n"
        "%p = mul %w, %m %n = sum_cols %p store m[c] = %w %d = mul %n, %m add w[c] += %d store n[0] = %n }",
        (double *[]){w, m, norm});
    expect(w, (double[]){1, 8, 3, 10}, 4);
    expect(m, (double[]){1, 2, 3, 4}, 4);
    expect(norm, (double[]){6}, 1);
    arena_free(arena);
}

static void choices_take_one_of_two_values(void **state) {
    (void)state;
    Arena *arena = arena_new();
    double y[6], z[6], x[2] = {1, NAN};
    run(arena,
        "form f rows { arg y f32[6] out arg z f32[6] out arg x f32[2] in row r 2 col c 3\n"
        "%x = load x[r] %c = index[1 + c] %one = const 1 %two = const 2 %seven = const 7\n"
        "%less = less %x, %c %equal = equal %x, %c\n"
        "%a = select %less, %two, %seven %b = select %x, %equal, %seven\n"
        "store y[r*3 + c] = %a store z[r*3 + c] = %b }",
        (double *[]){y, z, x});
    expect(y, (double[]){7, 2, 2, 7, 7, 7}, 6);
    expect(z, (double[]){1, 0, 0, 0, 0, 0}, 6);
    arena_free(arena);
}

static void rows_of_each_group_meet_its_matrix(void **state) {
    (void)state;
    Arena *arena = arena_new();
    double y[5] = {7, 7, 7, 7, 7}, x[6] = {1, 2, 3, 4, 5, 6}, w[6] = {1, 1, 10, 0, 0, 1};
    double offsets[4] = {0, 2, 2, 4}, slots[5] = {2, 0, -1, 1, 0};
    run(arena,
        "form f product { arg y f32[5] out arg x f32[6] in arg w f32[6] in arg o i32[4] in arg p i32[5] in row r 5 col "
        "c 1\n"
        "ragged rows groups 3 offsets o operand a = x[i*2 + k] gather p operand b = w[g*2 + k + i] product 0 = a, b k "
        "2\n"
        "%s = sum 0 store y[r] = %s }",
        (double *[]){y, x, w, offsets, slots});
    expect(y, (double[]){11, 3, 0, 4, 7}, 5);
    arena_free(arena);
}

static void groups_sum_over_their_own_k(void **state) {
    (void)state;
    Arena *arena = arena_new();
    double y[4] = {1, 1, 1, 1}, x[6] = {1, 2, 3, 4, 5, 6}, w[3] = {1, -1, 2}, offsets[3] = {0, 0, 2};
    run(arena,
        "form f product { arg y f32[4] inout arg x f32[6] in arg w f32[3] in arg o i32[3] in row g 2 row m 2\n"
        "ragged k groups 2 offsets o operand a = x[i + k*2]\n"
        "part b k_major { row t 3 %w = load w[t] %r = relu %w yield %r } product 0 = a, b k 3\n"
        "%s = sum 0 add y[g*2 + m] += %s }",
        (double *[]){y, x, w, offsets});
    expect(y, (double[]){1, 1, 2, 3}, 4);
    arena_free(arena);
}

static void bf16_rounds_what_is_stored_to_nearest(void **state) {
    (void)state;
    Arena *arena = arena_new();
    double y[4], z[4], x[4] = {1 + 1 / 256., -1 - 3 / 256., 3e38, 1e-45};
    run(arena,
        "form f rows { arg y bf16[4] out arg z f32[4] out arg x f32[4] in col c 4\n"
        "%x = load x[c] %r = to_bf16 %x store y[c] = %x store z[c] = %r }",
        (double *[]){y, z, x});
    expect(y, (double[]){1, -1 - 4 / 256., 0x1.c4p127, 0}, 4);
    expect(z, y, 4);
    arena_free(arena);
}

static void data_that_leads_astray_is_reported(void **state) {
    (void)state;
    Arena *arena = arena_new();
    double y[4], x[4] = {0}, position[1] = {2}, w[2] = {1, 1};
    const Form *form = read_form(arena, "form f rows { arg y f32[2] out arg x f32[4] in arg p i32[1] in col c 2\n"
                                        "%p = position p[0] %x = load x[%p*2 + c] store y[c] = %x }");
    assert_string_equal(form_interpret(arena, form, (double *[]){y, x, position}),
                        "form f: position 2 of %0 is past the end of x");
    form =
        read_form(arena, "form f product { arg y f32[2] out arg x f32[4] in arg w f32[2] in arg p i32[3] in row r 2\n"
                         "ragged rows groups 2 offsets p operand a = x[i*2 + k] operand b = w[k + i]\n"
                         "product 0 = a, b k 2 %s = sum 0 store y[r] = %s }");
    assert_string_equal(form_interpret(arena, form, (double *[]){y, x, w, (double[]){0, 2, 1}}),
                        "form f: offset 2 is 1; offsets rise from 0 to at most 2");
    assert_string_equal(form_interpret(arena, form, (double *[]){y, x, w, (double[]){0, 2, 3}}),
                        "form f: offset 2 is 3; offsets rise from 0 to at most 2");
    assert_string_equal(form_interpret(arena, form, (double *[]){y, x, w, (double[]){1, 2, 2}}),
                        "form f: offset 0 is 1; offsets rise from 0 to at most 2");
    arena_free(arena);
}

/* Ties go to the earlier column; expert 0 is full after one row, expert 2 has none. */
static void routes_sort_slots_by_expert(void **state) {
    (void)state;
    Arena *arena = arena_new();
    double x[9] = {1, 2, 2, 3, 1, 0, 2, 1, 0}, v[3], e[3], n[3], o[4], s[3], r[3];
    run(arena,
        "form f route { arg v f32[3] out arg e i32[3] out arg n f32[3] out arg o i32[4] out arg s i32[3] out\n"
        "arg r i32[3] out arg x f32[9] in row t 3 col c 3 %x = load x[t*3 + c] yield %x top_k 1 capacity 1\n"
        "values v experts e counts n offsets o slot_of_row s row_of_slot r }",
        (double *[]){v, e, n, o, s, r, x});
    expect(v, (double[]){2, 3, 2}, 3);
    expect(e, (double[]){1, 0, 0}, 3);
    expect(n, (double[]){2, 1, 0}, 3);
    expect(o, (double[]){0, 1, 2, 2}, 4);
    expect(s, (double[]){1, 0, -1}, 3);
    expect(r, (double[]){1, 0, -1}, 3);
    arena_free(arena);
}

/* Of 5 slots, 2 experts of capacity 2 hold 4. */
static void slots_have_the_rows_that_capacity_leaves(void **state) {
    (void)state;
    Arena *arena = arena_new();
    double e[5] = {0, 0, 1, 0, 1}, s[4], r[5];
    run(arena,
        "form f route { arg s i32[4] out arg r i32[5] out arg e i32[5] in row t 5 col c 2 given e capacity 2\n"
        "slot_of_row s row_of_slot r }",
        (double *[]){s, r, e});
    expect(s, (double[]){0, 1, 2, 4}, 4);
    expect(r, (double[]){0, 1, 2, -1, 3}, 5);
    arena_free(arena);
}

int main(void) {
    static const struct CMUnitTest others[] = {
        cmocka_unit_test(examples_of_the_specification_read_back),
        cmocka_unit_test(everything_that_a_form_can_hold_reads_back),
        cmocka_unit_test(equal_instructions_are_one),
        cmocka_unit_test(forms_that_were_broken_are_refused),
        cmocka_unit_test(indices_that_all_maps_run_through_evenly_are_joined),
        cmocka_unit_test(softmax_is_computed_by_rows),
        cmocka_unit_test(positions_gather_and_negative_ones_read_zero),
        cmocka_unit_test(what_is_not_read_has_another_value),
        cmocka_unit_test(scatters_add_up_from_zero_or_what_was_there),
        cmocka_unit_test(attention_is_a_mean_of_what_is_seen),
        cmocka_unit_test(gradients_of_attention_follow_its_weights),
        cmocka_unit_test(attention_computes_operands_and_does_with_results),
        cmocka_unit_test(updates_write_what_they_have_read),
        cmocka_unit_test(choices_take_one_of_two_values),
        cmocka_unit_test(rows_of_each_group_meet_its_matrix),
        cmocka_unit_test(groups_sum_over_their_own_k),
        cmocka_unit_test(routes_sort_slots_by_expert),
        cmocka_unit_test(slots_have_the_rows_that_capacity_leaves),
        cmocka_unit_test(bf16_rounds_what_is_stored_to_nearest),
        cmocka_unit_test(data_that_leads_astray_is_reported),
    };
    enum { N_CASES = sizeof cases / sizeof *cases, N_OTHERS = sizeof others / sizeof *others };
    static struct CMUnitTest tests[N_CASES + N_OTHERS];
    for (size_t i = 0; i < N_CASES; i++)
        tests[i] =
            (struct CMUnitTest){.name = cases[i].name, .test_func = error_test, .initial_state = (void *)&cases[i]};
    memcpy(tests + N_CASES, others, sizeof others);
    return _cmocka_run_group_tests("form", tests, N_CASES + N_OTHERS, NULL, NULL);
}
