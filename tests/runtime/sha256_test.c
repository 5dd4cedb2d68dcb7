// RUN: %unit %s
/* SHA-256 of texts whose sums are published (FIPS 180-4's examples) or end at every place of a block. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "runtime/sha256.h"

static const char *hexadecimal(Sha256 sum) {
    static char text[2 * SHA256_BYTES + 1];
    unsigned char digest[SHA256_BYTES];
    sha256_end(&sum, digest);
    for (int i = 0; i < SHA256_BYTES; i++)
        snprintf(text + (ptrdiff_t)2 * i, 3, "%02x", digest[i]);
    return text;
}

static const char *sum_of(const char *text) {
    Sha256 sum = sha256_begin();
    sha256_add(&sum, text, strlen(text));
    return hexadecimal(sum);
}

static void published_sums_come_out(void **state) {
    (void)state;
    assert_string_equal(sum_of(""), "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
    assert_string_equal(sum_of("abc"), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    assert_string_equal(sum_of("abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq"),
                        "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1");
    Sha256 sum = sha256_begin();
    for (int i = 0; i < 1000000; i++)
        sha256_add(&sum, "a", 1);
    assert_string_equal(hexadecimal(sum), "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0");
}

/* The sum of the sums of "", "x", "xx", .. up to 130 of them, as Python's hashlib has it. */
static void every_length_is_padded(void **state) {
    (void)state;
    char text[131] = "";
    Sha256 all = sha256_begin();
    for (size_t n = 0; n <= 130; n++) {
        const char *sum = sum_of(text);
        sha256_add(&all, sum, strlen(sum));
        if (n < 130)
            text[n] = 'x';
    }
    assert_string_equal(hexadecimal(all), "87aca1c44bc7ba8897768170211f0a02063de70801131ff86c7edb9ce32c6a50");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(published_sums_come_out),
        cmocka_unit_test(every_length_is_padded),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
