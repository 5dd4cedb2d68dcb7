// RUN: %unit %s
/* Training executables on a GPU, from the command line to what they leave: on the fake driver (tests/fake_cuda), whose
   kernels are those of the CPU, so that both say and save the same. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "tests/support_runtime/bigram_cuda.h"
#include "tests/support_runtime/bigram_plan.h"
#include "tests/support_runtime/run.h"

/* ---- Running ---------------------------------------------------------------------------------------------------- */

/* A folder with data, and a fake GPU that runs find. */
typedef struct {
    Folder folder;
    CudaFixture fixture;
    MoecPlan plan;
} Machine;

static void machine_open(Machine *machine) {
    char at[600];
    *machine = (Machine){.folder = folder_make(), .plan = bigram_cuda_plan()};
    Folder *folder = &machine->folder;
    cuda_fixture_open(&machine->fixture);
    bigram_cuda_add(&machine->fixture);
    snprintf(at, sizeof at, "%s/lib64", folder->path);
    assert_int_equal(symlink(cuda_fixture_folder(), at), 0);
    setenv("CUDA_HOME", folder->path, 1);
    snprintf(at, sizeof at, "%s/cache", folder->path);
    setenv("MOEC_CACHE_DIR", at, 1);
    write_tokens(folder, "train.bin", 201);
    write_tokens(folder, "val.bin", 41);
}

static void machine_close(Machine *machine) {
    cuda_fixture_close(&machine->fixture);
    folder_remove(&machine->folder);
}

static int run_on(Machine *machine, const char *device, const char *arguments) {
    char line[2048];
    snprintf(line, sizeof line, "--device %s %s", device, arguments);
    int code = run_plan(&machine->folder, &machine->plan, line);
    cuda_fixture_check(&machine->fixture);
    return code;
}

/* ---- The same as on the CPU ------------------------------------------------------------------------------------- */

/* Of lines of the log, what doesn't depend on time. */
static void expect_same_steps(Machine *machine, const char *a, const char *b) {
    size_t n;
    char *left = folder_read(&machine->folder, a, &n), *right = folder_read(&machine->folder, b, &n);
    char *l = left, *r = right;
    while ((l = strstr(l, "\"event\": \"step\"")) && (r = strstr(r, "\"event\": \"step\""))) {
        assert_memory_equal(l, r, (size_t)(strstr(l, "\"ms\"") - l));
        l++, r++;
    }
    assert_null(strstr(r, "\"event\": \"step\"") == r ? r : NULL);
    free(left);
    free(right);
}

static void expect_same_runs(Machine *machine, const char *arguments) {
    char line[1024];
    snprintf(line, sizeof line, "%s --out %%/cpu --log %%/cpu.jsonl --quiet", arguments);
    expect_code(&machine->folder, run_on(machine, "cpu", line), 0);
    snprintf(line, sizeof line, "%s --out %%/gpu --log %%/gpu.jsonl --quiet", arguments);
    expect_code(&machine->folder, run_on(machine, "cuda", line), 0);
    expect_same_steps(machine, "cpu.jsonl", "gpu.jsonl");
}

static void steps_say_and_save_what_they_do_on_the_cpu(void **state) {
    (void)state;
    Machine machine;
    machine_open(&machine);
    expect_same_runs(&machine, "--data %/train.bin --val %/val.bin --eval-every 4 --steps 10");
    expect_same_checkpoints(&machine.folder, "cpu/step-00000010", "gpu/step-00000010");
    machine_close(&machine);
}

static void so_do_steps_of_several_micro_batches(void **state) {
    (void)state;
    Machine machine;
    machine_open(&machine);
    expect_same_runs(&machine, "--data %/train.bin --global-batch 6 --steps 7 --save-every 3 --keep-last 0");
    expect_same_checkpoints(&machine.folder, "cpu/step-00000003", "gpu/step-00000003");
    expect_same_checkpoints(&machine.folder, "cpu/step-00000007", "gpu/step-00000007");
    machine_close(&machine);
}

static void so_do_dumps(void **state) {
    (void)state;
    Machine machine;
    machine_open(&machine);
    Folder *folder = &machine.folder;
    expect_code(folder, run_on(&machine, "cpu", "--data %/train.bin --steps 3 --dump %/cpu.safetensors"), 0);
    expect_code(folder, run_on(&machine, "cuda", "--data %/train.bin --steps 3 --dump %/gpu.safetensors"), 0);
    expect_same_files(folder, "cpu.safetensors", "gpu.safetensors");
    machine_close(&machine);
}

static void a_resumed_run_is_the_same_bit_for_bit(void **state) {
    (void)state;
    Machine machine;
    machine_open(&machine);
    Folder *folder = &machine.folder;
    expect_code(folder, run_on(&machine, "cuda", "--data %/train.bin --steps 9 --out %/whole --quiet"), 0);
    expect_code(folder, run_on(&machine, "cuda", "--data %/train.bin --steps 4 --out %/part --quiet"), 0);
    expect_code(folder, run_on(&machine, "cuda", "--data %/train.bin --steps 9 --out %/part --resume --quiet"), 0);
    expect_same_checkpoints(folder, "whole/step-00000009", "part/step-00000009");
    machine_close(&machine);
}

/* ---- Products by a library -------------------------------------------------------------------------------------- */

static void dense_products_are_the_librarys_where_there_is_one(void **state) {
    (void)state;
    Machine machine;
    machine_open(&machine);
    Folder *folder = &machine.folder;
    machine.plan = bigram_product_plan();
    const FakeCuda *fake = machine.fixture.fake;
    expect_code(folder, run_on(&machine, "cuda", "--data %/train.bin --steps 3 --out %/blas"), 0);
    expect_text(folder, "out.txt", "matmul    dense products by cuBLASLt 13.1.0\n");
    expect_text(folder, "out.txt", "kernels   4 for sm_90a");
    long n_measured = fake->n_products - 3;
    assert_true(n_measured > 0);
    assert_int_equal(fake->n_launches, 2 * 3); /* train, update */
    expect_code(folder, run_on(&machine, "cuda", "--data %/train.bin --steps 3 --matmul blas --out %/again"), 0);
    assert_int_equal(fake->n_products, n_measured + 2 * 3); /* what was measured is remembered */
    expect_code(folder, run_on(&machine, "cuda", "--data %/train.bin --steps 3 --matmul own --out %/own"), 0);
    expect_text(folder, "out.txt", "kernels   5 for sm_90a");
    assert_int_equal(fake->n_products, n_measured + 2 * 3);
    assert_int_equal(fake->n_launches, 2 * 2 * 3 + 3 * 3);
    expect_same_checkpoints(folder, "blas/step-00000003", "own/step-00000003");
    machine_close(&machine);
}

/* The exit code of a run in which that call fails. */
static int run_without(Machine *machine, const char *call, const char *arguments) {
    int code = 0;
    for (long i = 0; !machine->fixture.fake->failed || strcmp(machine->fixture.fake->failed, call) != 0; i++) {
        machine->fixture.reset();
        bigram_cuda_add(&machine->fixture);
        machine->fixture.fake->fail_at = i;
        code = run_on(machine, "cuda", arguments);
    }
    machine->fixture.fake->failed = NULL;
    return code;
}

static void without_the_library_moecs_kernels_multiply(void **state) {
    (void)state;
    Machine machine;
    machine_open(&machine);
    Folder *folder = &machine.folder;
    machine.plan = bigram_product_plan();
    expect_code(folder, run_without(&machine, "cublasLtCreate", "--data %/train.bin --steps 1"), 0);
    expect_text(folder, "out.txt", "matmul    moec's kernels alone: cublasLtCreate, to start cuBLASLt: ");
    int code = run_without(&machine, "cublasLtCreate", "--data %/train.bin --steps 1 --matmul blas");
    expect_code(folder, code, STATUS_SYSTEM);
    machine_close(&machine);
}

/* ---- What it reaches -------------------------------------------------------------------------------------------- */

/* Attention is counted half and in full; the plan's numbers differ by a factor of 2. */
static void steps_say_what_share_of_the_peak_they_reach(void **state) {
    (void)state;
    Machine machine;
    machine_open(&machine);
    Folder *folder = &machine.folder;
    machine.fixture.fake->device = "NVIDIA H100 80GB HBM3";
    expect_code(folder, run_on(&machine, "cuda", "--data %/train.bin --steps 2 --log %/log.jsonl"), 0);
    expect_text(folder, "out.txt", "peak      66.9 TFLOP/s in f32 matrix products, by the device's data sheet\n");
    expect_text(folder, "out.txt", "FLOP/s (MFU 0.0%, 0.0% with full attention)");
    expect_text(folder, "log.jsonl", "\"ceiling_flops_per_s\": 66900000000000.");
    machine.plan.precision = "bf16";
    expect_code(folder, run_on(&machine, "cuda", "--data %/train.bin --steps 2"), 0);
    expect_text(folder, "out.txt", "peak      989 TFLOP/s in bf16 matrix products");
    static const char *const unknown[] = {"NVIDIA H100 80GB HBM3 MIG 1g.10gb", "Unheard of"};
    for (size_t i = 0; i < sizeof unknown / sizeof *unknown; i++) {
        machine.fixture.fake->device = unknown[i];
        expect_code(folder, run_on(&machine, "cuda", "--data %/train.bin --steps 2"), 0);
        expect_text(folder, "out.txt", "peak      not known of this device: with --peak-tflops,");
    }
    expect_code(folder, run_on(&machine, "cuda", "--data %/train.bin --steps 2 --peak-tflops 1e-6 --log %/log.jsonl"),
                0);
    expect_text(folder, "out.txt", "peak      1.00 MFLOP/s in bf16 matrix products, by --peak-tflops\n");
    size_t n;
    char *log = folder_read(folder, "log.jsonl", &n), *step = strstr(log, "\"event\": \"step\"");
    double share = 0.0, full = 0.0;
    assert_int_equal(sscanf(strstr(step, "\"share_of_ceiling\""),
                            "\"share_of_ceiling\": %lf, \"share_with_full_attention\": %lf", &share, &full),
                     2);
    assert_true(share > 0.0 && full > 1.999 * share && full < 2.001 * share);
    free(log);
    machine_close(&machine);
}

/* ---- A step late ------------------------------------------------------------------------------------------------ */

/* What goes to the fake's streams happens only when something waits for it. */
static void the_host_does_not_wait_for_the_step_it_has_given(void **state) {
    (void)state;
    Machine machine;
    machine_open(&machine);
    write_tokens_with(&machine.folder, "train.bin", 201, 77, BIGRAM_NAN);
    int code = run_on(&machine, "cuda", "--data %/train.bin --steps 100 --log %/gpu.jsonl --quiet");
    expect_code(&machine.folder, code, STATUS_DIVERGED);
    long n_on_gpu = machine.fixture.fake->n_launches;
    expect_code(&machine.folder, run_on(&machine, "cpu", "--data %/train.bin --steps 100 --log %/cpu.jsonl --quiet"),
                STATUS_DIVERGED);
    expect_same_steps(&machine, "cpu.jsonl", "gpu.jsonl");
    size_t n;
    int n_steps = 0;
    char *log = folder_read(&machine.folder, "gpu.jsonl", &n);
    for (const char *line = log; (line = strstr(line, "\"event\": \"step\"")); line++)
        n_steps++;
    free(log);
    /* Of the steps that were told, of the one that made the NaN, and the forward pass of the next. */
    assert_int_equal(n_on_gpu, 2 * (n_steps + 1) + 1);
    machine_close(&machine);
}

static void a_nan_is_told_with_its_step_and_never_saved(void **state) {
    (void)state;
    Machine machine;
    machine_open(&machine);
    Folder *folder = &machine.folder;
    write_tokens_with(folder, "train.bin", 201, 77, BIGRAM_NAN);
    const char *const arguments = "--data %/train.bin --steps 100 --save-every 1 --keep-last 0 --quiet --out ";
    char line[256], expected[64], step[32];
    snprintf(line, sizeof line, "%s%%/cpu", arguments);
    expect_code(folder, run_on(&machine, "cpu", line), STATUS_DIVERGED);
    size_t n, n_saved = folder_count(folder, "cpu") - 1;
    char *told = folder_read(folder, "err.txt", &n);
    snprintf(expected, sizeof expected, "step %zu: the loss is nan, so training stops", n_saved + 1);
    assert_non_null(strstr(told, expected));
    free(told);
    snprintf(line, sizeof line, "%s%%/gpu", arguments);
    expect_code(folder, run_on(&machine, "cuda", line), STATUS_DIVERGED);
    expect_text(folder, "err.txt", expected);
    assert_int_equal(folder_count(folder, "gpu") - 1, n_saved);
    snprintf(step, sizeof step, "step-%08zu", n_saved);
    char left[64], right[64];
    snprintf(left, sizeof left, "cpu/%s", step);
    snprintf(right, sizeof right, "gpu/%s", step);
    expect_same_checkpoints(folder, left, right);
    machine_close(&machine);
}

/* The signal comes while the host waits for the step before, or for its micro-batch. What is saved goes on as a run
   that was never interrupted. */
static void a_signal_saves_a_whole_step(void **state) {
    (void)state;
    static const char *const batches[] = {"2", "6"};
    Machine machine;
    machine_open(&machine);
    Folder *folder = &machine.folder;
    for (int i = 0; i < 2; i++) {
        char line[256];
        write_tokens_with(folder, "train.bin", 201, 77, BIGRAM_STOP);
        const char *common = "--data %/train.bin --steps 40 --schedule constant --quiet --global-batch";
        snprintf(line, sizeof line, "%s %s --out %%/run%d --log %%/first.jsonl", common, batches[i], i);
        expect_code(folder, run_on(&machine, "cuda", line), 0);
        size_t n;
        char *log = folder_read(folder, "first.jsonl", &n), *last = log;
        while (strstr(last + 1, "\"event\": \"step\""))
            last = strstr(last + 1, "\"event\": \"step\"");
        int step = 0;
        assert_int_equal(sscanf(last, "\"event\": \"step\", \"step\": %d", &step), 1);
        free(log);
        char saved[64], whole[64];
        snprintf(saved, sizeof saved, "run%d/step-%08d", i, step);
        assert_true(folder_has(folder, saved));
        snprintf(line, sizeof line,
                 "--data %%/train.bin --steps %d --schedule constant --quiet --global-batch %s "
                 "--out %%/whole%d",
                 step, batches[i], i);
        expect_code(folder, run_on(&machine, "cuda", line), 0);
        snprintf(whole, sizeof whole, "whole%d/step-%08d", i, step);
        expect_same_checkpoints(folder, saved, whole);
    }
    machine_close(&machine);
}

/* ---- Faults of the device --------------------------------------------------------------------------------------- */

static void a_fault_names_its_kernel_if_kernels_are_waited_for(void **state) {
    (void)state;
    static const MoecCudaFunction function = {"fault", 1, 1, 0, 0};
    static const MoecCudaVariant variant = {
        .capability = 80, .is_for_later = true, .text = "void fault();\n", .functions = &function, .n_functions = 1};
    Machine machine;
    machine_open(&machine);
    Folder *folder = &machine.folder;
    MoecCudaKernel kernels[4];
    memcpy(kernels, machine.plan.cuda_kernels, sizeof kernels);
    kernels[3].variants = &variant;
    machine.plan.cuda_kernels = kernels;
    expect_code(folder, run_on(&machine, "cuda", "--data %/train.bin --steps 9 --quiet"), STATUS_SYSTEM);
    expect_text(folder, "err.txt", "CUDA_ERROR_ILLEGAL_ADDRESS (an illegal memory access was encountered); program \"");
    expect_text(folder, "err.txt", "with --check sync a run names the kernel");
    machine.fixture.reset();
    bigram_cuda_add(&machine.fixture);
    int code = run_on(&machine, "cuda", "--data %/train.bin --steps 9 --quiet --check sync");
    expect_code(folder, code, STATUS_SYSTEM);
    expect_text(folder, "err.txt",
                "to run kernel fault (%0, bigram.moe:1:1): CUDA_ERROR_ILLEGAL_ADDRESS (an illegal memory access was "
                "encountered)\n");
    machine_close(&machine);
}

static void waiting_changes_nothing(void **state) {
    (void)state;
    Machine machine;
    machine_open(&machine);
    Folder *folder = &machine.folder;
    expect_code(folder, run_on(&machine, "cuda", "--data %/train.bin --steps 5 --out %/a --quiet"), 0);
    assert_int_equal(machine.fixture.fake->n_replays, 2 * 4);
    expect_code(folder, run_on(&machine, "cuda", "--data %/train.bin --steps 5 --out %/b --quiet --check sync"), 0);
    assert_int_equal(machine.fixture.fake->n_replays, 2 * 4);
    expect_same_checkpoints(folder, "a/step-00000005", "b/step-00000005");
    expect_code(folder, run_on(&machine, "cpu", "--data %/train.bin --steps 5 --check sync"), STATUS_USAGE);
    expect_text(folder, "err.txt", "--check sync: waits for a GPU's kernels; add --device cuda");
    machine_close(&machine);
}

/* ---- Every call of the libraries fails once --------------------------------------------------------------------- */

/* What ends things is called when all is done and saved: its failures are nobody's concern then. */
static bool ends_things(const char *call) {
    return strstr(call, "Destroy") || strstr(call, "Free") || strstr(call, "Release") || strstr(call, "Unload") ||
           strcmp(call, "cuCtxSetCurrent") == 0 || strcmp(call, "cuStreamSynchronize") == 0;
}

static size_t count_of(const char *text, const char *part) {
    size_t n = 0;
    for (const char *at = text; (at = strstr(at, part)); at++)
        n++;
    return n;
}

/* One error on one line, which names the call; nothing is there but what was written whole. */
static void expect_told(Machine *machine, int code, long call) {
    Folder *folder = &machine->folder;
    size_t n;
    char *told = folder_read(folder, "err.txt", &n), name[64];
    const char *failed = machine->fixture.fake->failed;
    snprintf(name, sizeof name, "%s", failed);
    *(strstr(name, "_v2") ? strstr(name, "_v2") : strchr(name, '\0')) = '\0';
    *(strstr(name, "WithFlags") ? strstr(name, "WithFlags") : strchr(name, '\0')) = '\0';
    if (code != STATUS_SYSTEM || count_of(told, "error:") != 1 || !strstr(told, name))
        fail_msg("%s (call %ld) fails: exit code %d, says: %s", failed, call, code, told);
    if (folder_has(folder, "export"))
        fail_msg("%s (call %ld) fails, and there is an export", failed, call);
    free(told);
}

static void clean(Machine *machine) {
    char command[700];
    snprintf(command, sizeof command, "cd '%s' && rm -rf run export* cache", machine->folder.path);
    assert_int_equal(system(command), 0);
}

/* The export comes last: it is there if and only if the run ended
   well. */
static void every_failure_of_a_run_is_told(void **state) {
    (void)state;
    Machine machine;
    machine_open(&machine);
    machine.plan = bigram_product_plan();
    bool has_failed = true;
    for (long call = 0; has_failed; call++) {
        clean(&machine);
        machine.fixture.reset();
        bigram_cuda_add(&machine.fixture);
        machine.fixture.fake->fail_at = call;
        int code =
            run_on(&machine, "cuda",
                   "--matmul blas --data %/train.bin --val %/val.bin --eval-batches 1 --steps 2 --quiet --out %/run "
                   "--export %/export");
        has_failed = machine.fixture.fake->failed;
        if (code == 0 && has_failed && !ends_things(machine.fixture.fake->failed))
            fail_msg("the failure of %s (call %ld) goes unsaid", machine.fixture.fake->failed, call);
        if (code != 0)
            expect_told(&machine, code, call);
        else
            assert_true(folder_has(&machine.folder, "export/model.safetensors"));
        if (folder_has(&machine.folder, "run"))
            assert_int_equal(folder_count(&machine.folder, "run"), folder_has(&machine.folder, "run/latest") ? 2 : 0);
    }
    machine_close(&machine);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(steps_say_and_save_what_they_do_on_the_cpu),
        cmocka_unit_test(so_do_steps_of_several_micro_batches),
        cmocka_unit_test(so_do_dumps),
        cmocka_unit_test(a_resumed_run_is_the_same_bit_for_bit),
        cmocka_unit_test(dense_products_are_the_librarys_where_there_is_one),
        cmocka_unit_test(without_the_library_moecs_kernels_multiply),
        cmocka_unit_test(steps_say_what_share_of_the_peak_they_reach),
        cmocka_unit_test(the_host_does_not_wait_for_the_step_it_has_given),
        cmocka_unit_test(a_nan_is_told_with_its_step_and_never_saved),
        cmocka_unit_test(a_signal_saves_a_whole_step),
        cmocka_unit_test(a_fault_names_its_kernel_if_kernels_are_waited_for),
        cmocka_unit_test(waiting_changes_nothing),
        cmocka_unit_test(every_failure_of_a_run_is_told),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
