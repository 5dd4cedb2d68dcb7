// RUN: %unit %s
/* The command line of a training executable: defaults from the plan, values, and what is said about a wrong one. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "runtime/options.h"
#include "tests/support_runtime/folder.h"

static const MoecPlan plan = {
    .model = "small",
    .is_moe = true,
    .micro_batch = 4,
    .train = {.steps = 100,
              .global_batch = 8,
              .lr = 3e-4,
              .min_lr = 0.1,
              .schedule = "cosine",
              .warmup = 10,
              .beta1 = 0.9,
              .beta2 = 0.95,
              .epsilon = 1e-8,
              .weight_decay = 0.1,
              .clip = 1.0,
              .seed = 7},
};

enum { MAX_ARGS = 16 };

/* "a b c" cut at blanks; `text` must outlive the options. */
static bool parse(char *text, Options *options, Status *status) {
    char *argv[MAX_ARGS + 2] = {"train"};
    int argc = 1;
    for (char *word = strtok(text, " "); word; word = strtok(NULL, " ")) {
        assert_true(argc < MAX_ARGS);
        argv[argc++] = word;
    }
    return options_parse(&plan, argc, argv, options, status);
}

static void expect_refused(const char *line, const char *message) {
    char text[512];
    Options options;
    Status status = STATUS_INIT;
    snprintf(text, sizeof text, "%s", line);
    if (parse(text, &options, &status))
        fail_msg("'%s' is taken", line);
    expect_failure(&status, STATUS_USAGE, message);
    options_free(&options);
}

static void the_plan_has_the_defaults(void **state) {
    (void)state;
    char text[] = "--data a.bin";
    Options options;
    Status status = STATUS_INIT;
    assert_true(parse(text, &options, &status));
    assert_int_equal(options.steps, 100);
    assert_int_equal(options.micro_batch, 4);
    assert_int_equal(options.global_batch, 8);
    assert_int_equal(options.seed, 7);
    assert_true(options.lr == 3e-4 && options.min_lr == 0.1 && options.epsilon == 1e-8);
    assert_string_equal(options.schedule, "cosine");
    assert_null(options.weights);
    assert_false(options.is_given[OPTION_STEPS]);
    options_free(&options);
}

static void flags_override_them(void **state) {
    (void)state;
    char text[] = "--data a.bin:2 --data=b.bin:1 --steps 5 --lr=1e-2 --schedule wsd --resume --out run --quiet";
    Options options;
    Status status = STATUS_INIT;
    assert_true(parse(text, &options, &status));
    assert_int_equal(options.data.n, 2);
    assert_string_equal(options.data.items[1], "b.bin:1");
    assert_int_equal(options.steps, 5);
    assert_true(options.lr == 1e-2);
    assert_string_equal(options.schedule, "wsd");
    assert_true(options.is_quiet && options.is_given[OPTION_RESUME] && options.is_given[OPTION_STEPS]);
    assert_null(options.resume);
    assert_string_equal(options.out, "run");
    options_free(&options);
}

static void resume_may_name_a_directory(void **state) {
    (void)state;
    char text[] = "--data a.bin --resume run";
    Options options;
    Status status = STATUS_INIT;
    assert_true(parse(text, &options, &status));
    assert_string_equal(options.resume, "run");
    options_free(&options);
}

static void wrong_words_are_refused(void **state) {
    (void)state;
    expect_refused("--stepps 3", "there is no option --stepps; did you mean --steps?");
    expect_refused("--evl", "did you mean --eval?");
    expect_refused("--globalbatch=8", "did you mean --global-batch?");
    expect_refused("--xyzzy 3", "there is no option --xyzzy; --help lists them");
    expect_refused("--a-very-long-option-that-is-longer-than-any-name-there-is", "there is no option");
    expect_refused("data.bin", "found 'data.bin', expected an option");
    expect_refused("--", "expected an option");
    expect_refused("--steps", "--steps needs a value: --steps N");
    expect_refused("--quiet=1", "--quiet takes no value");
}

static void wrong_values_are_refused(void **state) {
    (void)state;
    expect_refused("--steps -1", "--steps: found '-1', expected an integer from 0 to");
    expect_refused("--steps 3x", "found '3x'");
    expect_refused("--steps 99999999999999999999", "expected an integer");
    expect_refused("--lr fast", "--lr: found 'fast', expected a number from 0");
    expect_refused("--lr nan", "expected a number");
    expect_refused("--beta1 1", "--beta1: found '1', expected a number from 0 to 0.9999999");
    expect_refused("--schedule linear", "--schedule: found 'linear', expected cosine|wsd|constant");
    expect_refused("--schedule cos", "expected cosine|wsd|constant");
    expect_refused("--matmul cuda", "--matmul: found 'cuda', expected auto|own|blas");
    expect_refused("--token-dtype u8", "expected u16|u32");
}

static void wrong_combinations_are_refused(void **state) {
    (void)state;
    expect_refused("--steps 5", "training needs a token file: --data PATH");
    expect_refused("--eval", "--eval needs a token file: --val PATH");
    expect_refused("--eval --generate x", "expected one of them");
    expect_refused("--data a.bin --weights w --resume r", "a checkpoint has its own weights");
    expect_refused("--data a.bin --resume", "say from where");
    expect_refused("--generate x --resume", "say from where");
    expect_refused("--tune a.tuning --resume", "say from where");
    expect_refused("--generate x --weights w --resume r", "a checkpoint has its own weights");
    expect_refused("--tune a.tuning --weights w --resume r", "a checkpoint has its own weights");
    expect_refused("--data a.bin --micro-batch 8",
                   "compiled for 4 sequences at a time; to change that, build it again");
    expect_refused("--data a.bin --global-batch 6", "expected a multiple of 4");
}

static void without_steps_no_data_is_needed(void **state) {
    (void)state;
    char text[] = "--weights w --steps 0 --export e";
    Options options;
    Status status = STATUS_INIT;
    assert_true(parse(text, &options, &status));
    options_free(&options);
}

static void help_names_every_option_and_default(void **state) {
    (void)state;
    char *text = NULL;
    size_t n;
    FILE *out = open_memstream(&text, &n);
    options_print_help(out, &plan, "train");
    fclose(out);
    static const char *const parts[] = {
        "usage: train --weights DIR --data PATH",
#define OPTION(id, name, argument, group, type, field, least, most, help) "--" name,
#include "runtime/options.def"
        "(default: 0.0003)",
        "(default: cosine)",
        "(default: 100)",
    };
    for (size_t i = 0; i < sizeof parts / sizeof *parts; i++)
        assert_non_null(strstr(text, parts[i]));
    for (const char *line = text; line; line = strchr(line, '\n') ? strchr(line, '\n') + 1 : NULL)
        assert_true(strcspn(line, "\n") <= 100);
    free(text);
}

static void the_configuration_is_json(void **state) {
    (void)state;
    char text[] = "--data a.bin --lr 0.25 --print-config";
    Options options;
    Status status = STATUS_INIT;
    assert_true(parse(text, &options, &status));
    json_t *config = options_json(&options);
    assert_true(json_real_value(json_object_get(config, "lr")) == 0.25);
    assert_int_equal(json_integer_value(json_object_get(config, "steps")), 100);
    assert_string_equal(json_string_value(json_array_get(json_object_get(config, "data"), 0)), "a.bin");
    assert_true(json_is_null(json_object_get(config, "weights")));
    json_decref(config);
    options_free(&options);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_plan_has_the_defaults),       cmocka_unit_test(flags_override_them),
        cmocka_unit_test(resume_may_name_a_directory),     cmocka_unit_test(wrong_words_are_refused),
        cmocka_unit_test(wrong_values_are_refused),        cmocka_unit_test(wrong_combinations_are_refused),
        cmocka_unit_test(without_steps_no_data_is_needed), cmocka_unit_test(help_names_every_option_and_default),
        cmocka_unit_test(the_configuration_is_json),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
