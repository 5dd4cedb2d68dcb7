#include "runtime/dump.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "runtime/gradients.h"
#include "runtime/program.h"
#include "runtime/safetensors.h"

static bool compute_logits(Dump *dump, Session *session, Status *status) {
    Program generate;
    if (!program_open(&generate, session->plan, "generate", &session->memory, status))
        return false;
    int32_t *tokens = program_input(&generate, "tokens");
    if (data_stream_head(&session->data, session->plan->generate_sequence, tokens, status) &&
        program_run(&generate, status))
        memcpy(dump->logits, program_output(&generate, "logits"), (size_t)dump->n_logits * sizeof(float));
    program_close(&generate);
    return !status->failed;
}

bool dump_open(Dump *dump, Session *session, Status *status) {
    const MoecPlan *plan = session->plan;
    int64_t n_steps = session->options->steps - session->step;
    *dump = (Dump){.plan = plan, .n_logits = plan->generate_sequence * plan->vocab};
    if (session->data.n_sources == 0)
        return status_fail(status, STATUS_USAGE, "--dump needs a token file: --data PATH");
    if (!output_check_file("--dump", session->options->dump, status))
        return false;
    dump->logits = malloc((size_t)dump->n_logits * sizeof *dump->logits);
    dump->gradients = calloc(plan->space_bytes[MOEC_SPACE_GRAD] + 1, 1);
    dump->losses = calloc((size_t)(n_steps > 0 ? n_steps : 0) + 1, sizeof *dump->losses);
    if (!dump->logits || !dump->gradients || !dump->losses)
        return status_fail_errno(status, "--dump");
    return compute_logits(dump, session, status);
}

void dump_close(Dump *dump) {
    free(dump->logits);
    free(dump->gradients);
    free(dump->losses);
    *dump = (Dump){0};
}

bool dump_step(Dump *dump, const Session *session, double loss, double nll, Status *status) {
    if (dump->n_losses == 0)
        dump->nll = (float)nll;
    bool is_copied = dump->n_losses > 0 ||
                     gradients_copy(dump->plan, &session->memory, session_passage(session), dump->gradients, status);
    dump->losses[dump->n_losses++] = (float)loss;
    return is_copied;
}

/* ---- Writing ---------------------------------------------------------------------------------------------------- */

/* The tensors of the file: logits, nll, losses, gradients. */
typedef struct {
    SafetensorsSpec *specs;
    const float **values;
    uint64_t *n_values;
    char **names;
    size_t n;
    int64_t logits_dims[3];
} Tensors;

static bool add_tensor(Tensors *tensors, const float *values, int rank, const int64_t *dims, Status *status,
                       const char *format, ...) __attribute__((format(printf, 6, 7)));

static bool add_tensor(Tensors *tensors, const float *values, int rank, const int64_t *dims, Status *status,
                       const char *format, ...) {
    va_list args;
    va_start(args, format);
    char *name = NULL;
    if (vasprintf(&name, format, args) < 0)
        name = NULL;
    va_end(args);
    if (!name)
        return status_fail_errno(status, "--dump");
    uint64_t n_values = 1;
    for (int i = 0; i < rank; i++)
        n_values *= (uint64_t)dims[i];
    tensors->names[tensors->n] = name;
    tensors->specs[tensors->n] = (SafetensorsSpec){name, rank, dims};
    tensors->values[tensors->n] = values;
    tensors->n_values[tensors->n++] = n_values;
    return true;
}

static bool list_tensors(Tensors *tensors, const Dump *dump, Status *status) {
    const MoecPlan *plan = dump->plan;
    size_t capacity = 2 + (size_t)dump->n_losses + plan->n_weights;
    tensors->specs = calloc(capacity, sizeof *tensors->specs);
    tensors->values = calloc(capacity, sizeof *tensors->values);
    tensors->n_values = calloc(capacity, sizeof *tensors->n_values);
    tensors->names = calloc(capacity, sizeof *tensors->names);
    if (!tensors->specs || !tensors->values || !tensors->n_values || !tensors->names)
        return status_fail_errno(status, "--dump");
    memcpy(tensors->logits_dims, (int64_t[]){1, plan->generate_sequence, plan->vocab}, sizeof tensors->logits_dims);
    add_tensor(tensors, dump->logits, 3, tensors->logits_dims, status, "logits");
    add_tensor(tensors, &dump->nll, 0, NULL, status, "nll");
    for (int64_t i = 0; i < dump->n_losses && !status->failed; i++)
        add_tensor(tensors, &dump->losses[i], 0, NULL, status, "loss.%" PRId64, i);
    for (uint32_t i = 0; i < plan->n_weights && !status->failed; i++) {
        const MoecWeight *weight = &plan->weights[i];
        add_tensor(tensors, (const float *)(const void *)(dump->gradients + weight->offset), weight->rank, weight->dims,
                   status, "grad:%s", weight->name);
    }
    return !status->failed;
}

static void free_tensors(Tensors *tensors) {
    for (size_t i = 0; i < tensors->n; i++)
        free(tensors->names[i]);
    free(tensors->names);
    free(tensors->specs);
    free(tensors->values);
    free(tensors->n_values);
}

static void write_tensors(const Tensors *tensors, OutputFile *file, Status *status) {
    safetensors_write_header(file, DTYPE_F32, tensors->specs, tensors->n, status);
    for (size_t i = 0; i < tensors->n && !status->failed; i++)
        safetensors_append(file, DTYPE_F32, tensors->values[i], tensors->n_values[i], status);
}

bool dump_write(const Dump *dump, const char *path, Status *status) {
    Tensors tensors = {0};
    OutputFile *file = list_tensors(&tensors, dump, status) ? output_file_begin(disk_system(), path, status) : NULL;
    if (file) {
        write_tensors(&tensors, file, status);
        output_file_publish(file, path, status);
    }
    free_tensors(&tensors);
    return !status->failed;
}
