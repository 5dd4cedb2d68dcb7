#include "runtime/generate.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "runtime/program.h"
#include "runtime/random.h"
#include "runtime/tokenizer.h"

typedef struct {
    Session *session;
    Program program;
    Tokenizer *tokenizer;
    int32_t *ids; /* the text so far */
    size_t n_ids;
    size_t n_printed; /* bytes of it */
} Generator;

/* An id drawn from softmax(logits / temperature), the likeliest at temperature 0; `uniform` is in [0, 1). -1 where a
   logit is NaN. */
static int32_t choose(const float *logits, int64_t vocab, double temperature, double uniform) {
    int64_t best = 0;
    for (int64_t i = 0; i < vocab; i++) {
        if (isnan(logits[i]))
            return -1;
        if (logits[i] > logits[best])
            best = i;
    }
    if (temperature == 0.0)
        return (int32_t)best;
    double sum = 0.0;
    for (int64_t i = 0; i < vocab; i++)
        sum += exp(((double)logits[i] - (double)logits[best]) / temperature);
    double left = uniform * sum;
    for (int64_t i = 0; i < vocab; i++) {
        left -= exp(((double)logits[i] - (double)logits[best]) / temperature);
        if (left < 0.0)
            return (int32_t)i;
    }
    return (int32_t)best; /* rounding left a rest */
}

/* The text's last `window` ids stand at position 0 and on; causal attention makes what follows them irrelevant. NULL
   after a failure. */
static const float *compute_logits(const Generator *generator, Status *status) {
    size_t window = (size_t)generator->session->plan->generate_sequence;
    size_t n = generator->n_ids < window ? generator->n_ids : window;
    int32_t *tokens = program_input(&generator->program, "tokens");
    memset(tokens, 0, window * sizeof *tokens);
    memcpy(tokens, generator->ids + generator->n_ids - n, n * sizeof *tokens);
    if (!program_run(&generator->program, status))
        return NULL;
    return program_output(&generator->program, "logits") + (int64_t)(n - 1) * generator->session->plan->vocab;
}

/* Length of `text` without a character at its end that isn't whole. */
static size_t whole_characters(const char *text, size_t length) {
    size_t start = length;
    while (start > 0 && length - start < 3 && ((unsigned char)text[start - 1] & 0xC0u) == 0x80u)
        start--;
    if (start == 0)
        return length;
    unsigned char lead = (unsigned char)text[start - 1];
    size_t needed = lead >= 0xF0 ? 4 : lead >= 0xE0 ? 3 : lead >= 0xC0 ? 2 : 1;
    return needed > length - (start - 1) ? start - 1 : length;
}

/* Prints what the newest ids add to the text. */
static bool print_new(Generator *generator, bool is_last, Status *status) {
    char *text = tokenizer_decode(generator->tokenizer, generator->ids, generator->n_ids, status);
    if (!text)
        return false;
    size_t length = is_last ? strlen(text) : whole_characters(text, strlen(text));
    if (length > generator->n_printed) {
        fwrite(text + generator->n_printed, 1, length - generator->n_printed, stdout);
        generator->n_printed = length;
        fflush(stdout);
    }
    free(text);
    return true;
}

/* The prompt's ids, with room for those to come. */
static bool encode_prompt(Generator *generator, Status *status) {
    const Options *options = generator->session->options;
    int32_t *ids;
    size_t n;
    if (!tokenizer_encode(generator->tokenizer, options->generate, &ids, &n, status))
        return false;
    generator->ids = realloc(ids, (n + (size_t)options->n_tokens + 1) * sizeof *ids);
    if (!generator->ids) {
        free(ids);
        return status_fail_errno(status, "--generate");
    }
    generator->n_ids = n;
    return n > 0 || status_fail(status, STATUS_USAGE, "--generate: %s",
                                options->generate[0] ? "the model has a token for no character of the text"
                                                     : "the text is empty; give at least one character");
}

static bool add_tokens(Generator *generator, Status *status) {
    const Options *options = generator->session->options;
    const MoecPlan *plan = generator->session->plan;
    RandomStream stream = random_stream((uint64_t)options->seed, "generate");
    for (int64_t i = 0; i < options->n_tokens; i++) {
        const float *logits = compute_logits(generator, status);
        if (!logits)
            return false;
        int32_t id = choose(logits, plan->vocab, options->temperature, random_uniform(&stream, (uint64_t)i));
        if (id < 0)
            return status_fail(status, STATUS_DIVERGED, "--generate: the logits are NaN: so are some weights");
        if (tokenizer_ends_text(generator->tokenizer, id))
            break;
        generator->ids[generator->n_ids++] = id;
        if (!print_new(generator, false, status))
            return false;
    }
    return print_new(generator, true, status);
}

bool generate_run(Session *session, Status *status) {
    Generator generator = {.session = session};
    generator.tokenizer = tokenizer_new(&session->extras, session->plan->vocab, status);
    if (generator.tokenizer && program_open(&generator.program, session->plan, "generate", &session->memory, status) &&
        encode_prompt(&generator, status) && print_new(&generator, false, status) && add_tokens(&generator, status))
        putchar('\n');
    program_close(&generator.program);
    tokenizer_free(generator.tokenizer);
    free(generator.ids);
    return !status->failed;
}
