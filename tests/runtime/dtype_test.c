// RUN: %unit %s
/* Conversions between 16-bit floats and f32, over all values there are. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "runtime/dtype.h"

enum { N_PATTERNS = 1 << 16 };

static uint32_t bits_of(float value) {
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    return bits;
}

static float of_bits(uint32_t bits) {
    float value;
    memcpy(&value, &bits, sizeof value);
    return value;
}

/* All 65536 patterns as `dtype`, widened in place; the caller frees them. */
static float *widen_all(Dtype dtype) {
    float *values = malloc(N_PATTERNS * sizeof *values);
    assert_non_null(values);
    char *tail = (char *)values + N_PATTERNS * (sizeof(float) - sizeof(uint16_t));
    for (uint32_t i = 0; i < N_PATTERNS; i++) {
        uint16_t pattern = (uint16_t)i;
        memcpy(tail + i * sizeof pattern, &pattern, sizeof pattern);
    }
    dtype_widen(dtype, values, N_PATTERNS);
    return values;
}

/* IEEE 754 binary16, by its definition. */
static double half_value(uint32_t half) {
    int exponent = (int)(half >> 10 & 0x1F);
    double mantissa = half & 0x3FF, sign = half & 0x8000 ? -1 : 1;
    if (exponent == 0)
        return sign * ldexp(mantissa, -24);
    if (exponent == 31)
        return mantissa == 0 ? sign * INFINITY : NAN;
    return sign * ldexp(1024 + mantissa, exponent - 25);
}

static void every_f16_is_widened_exactly(void **state) {
    (void)state;
    float *values = widen_all(DTYPE_F16);
    for (uint32_t i = 0; i < N_PATTERNS; i++) {
        double expected = half_value(i);
        if (isnan(expected) ? !isnan(values[i]) : bits_of(values[i]) != bits_of((float)expected))
            fail_msg("f16 0x%04x became %a, expected %a", i, (double)values[i], expected);
    }
    assert_int_equal(bits_of(values[0x7E01]), 0x7FC02000); /* payloads stay */
    free(values);
}

static void every_bf16_is_the_upper_half_of_an_f32(void **state) {
    (void)state;
    float *values = widen_all(DTYPE_BF16);
    for (uint32_t i = 0; i < N_PATTERNS; i++)
        assert_int_equal(bits_of(values[i]), i << 16);
    free(values);
}

static void every_bf16_comes_back(void **state) {
    (void)state;
    for (uint32_t i = 0; i < N_PATTERNS; i++) {
        float value = of_bits(i << 16);
        uint32_t expected = isnan(value) ? i | 0x40 : i; /* NaNs become quiet */
        assert_int_equal(dtype_bf16_of(value), expected);
    }
}

/* Of two neighbours the nearer one; halfway, the even one. */
static void f32_is_rounded_to_the_nearest_bf16(void **state) {
    (void)state;
    for (uint32_t i = 0; i < 0x7F80; i++) {
        uint32_t low = i << 16, even = i & 1 ? i + 1 : i;
        assert_int_equal(dtype_bf16_of(of_bits(low + 0x7FFF)), i);
        assert_int_equal(dtype_bf16_of(of_bits(low + 0x8000)), even);
        assert_int_equal(dtype_bf16_of(of_bits(low + 0x8001)), i + 1);
        assert_int_equal(dtype_bf16_of(of_bits(0x80000000u | (low + 0x8001))), 0x8000u | (i + 1));
    }
}

static void too_large_becomes_infinity_and_nan_stays(void **state) {
    (void)state;
    assert_int_equal(dtype_bf16_of(3.4028235e38f), 0x7F80);
    assert_int_equal(dtype_bf16_of(of_bits(0x7F800001)), 0x7FC0);
    assert_int_equal(dtype_bf16_of(of_bits(0xFFFFFFFF)), 0xFFFF);
}

static void narrowing_many_is_narrowing_each(void **state) {
    (void)state;
    float values[1000];
    uint16_t narrow[1000];
    for (size_t i = 0; i < 1000; i++)
        values[i] = of_bits((uint32_t)i * 4294967u);
    dtype_narrow(values, 1000, narrow);
    for (size_t i = 0; i < 1000; i++)
        assert_int_equal(narrow[i], dtype_bf16_of(values[i]));
}

static void names_are_those_of_safetensors(void **state) {
    (void)state;
    Dtype dtype;
    assert_true(dtype_find("F8_E4M3", &dtype));
    assert_string_equal(dtype_name(dtype), "F8_E4M3");
    assert_int_equal(dtype_bits(dtype), 8);
    assert_true(dtype_find("F4", &dtype));
    assert_int_equal(dtype_bits(dtype), 4);
    assert_false(dtype_is_readable(dtype));
    assert_false(dtype_find("f32", &dtype));
    assert_false(dtype_find("", &dtype));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_f16_is_widened_exactly),
        cmocka_unit_test(every_bf16_is_the_upper_half_of_an_f32),
        cmocka_unit_test(every_bf16_comes_back),
        cmocka_unit_test(f32_is_rounded_to_the_nearest_bf16),
        cmocka_unit_test(too_large_becomes_infinity_and_nan_stays),
        cmocka_unit_test(narrowing_many_is_narrowing_each),
        cmocka_unit_test(names_are_those_of_safetensors),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
