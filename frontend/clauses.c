#include "frontend/clauses.h"

#include <fnmatch.h>
#include <math.h>
#include <string.h>

#include "frontend/config.h"
#include "frontend/settings.h"

/* ---- The settings -------------------------------------------------------------------------------------------------
 */

#define AT_LEAST(bound) .limits = {.least = (bound), .most = INFINITY}
#define MORE_THAN(bound) .limits = {.least = (bound), .most = INFINITY, .excludes_least = true}
#define FROM_TO(bound, other) .limits = {.least = (bound), .most = (other)}
#define COUNT(bound) FROM_TO(bound, MAX_ELEMENTS)
#define SHARE .limits = {.least = 0, .most = 1, .excludes_least = true}
#define MOMENT .limits = {.least = 0, .most = 1, .excludes_most = true}

enum { MAX_EXPERTS = 4096, MAX_RANKS = 1 << 16 };

static const SettingRow router_normal[] = {
    {"std", setting_number, AT_LEAST(0), .otherwise = SETTING_NUMBER_IS(0.02), .attr = "router_std"},
    {0},
};
static const SettingRow noise[] = {
    {"std", setting_number, MORE_THAN(0), .is_required = true, .attr = "noise"},
    {0},
};
static const SettingRow drop[] = {
    {"ratio", setting_number, SHARE, .is_required = true, .attr = "drop"},
    {0},
};
static const Choice routers[] = {{"topk_then_softmax", NULL}, {"softmax_then_topk", NULL}, {0}};
static const Choice router_inits[] = {{"normal", router_normal}, {"zeros", NULL}, {0}};
static const Choice capacities[] = {{"dropless", NULL}, {0}};
static const Choice expert_inits[] = {{"replicate", NULL}, {"noise", noise}, {"drop", drop}, {0}};

static const SettingRow upcycle_rows[] = {
    {"experts", setting_integer, FROM_TO(1, MAX_EXPERTS), .is_required = true},
    {"top_k", setting_integer, FROM_TO(1, MAX_EXPERTS), .is_required = true},
    {"router", setting_word, .choices = routers, .otherwise = SETTING_WORD_IS("topk_then_softmax")},
    {"router_init", setting_word, .choices = router_inits, .otherwise = SETTING_WORD_IS("normal")},
    {"router_name", setting_string, .otherwise = SETTING_STRING_IS("gate.weight")},
    {"capacity", setting_number_or_word, MORE_THAN(0), .choices = capacities, .otherwise = SETTING_WORD_IS("dropless")},
    {"balance", setting_number, AT_LEAST(0), .otherwise = SETTING_NUMBER_IS(0)},
    {"z_loss", setting_number, AT_LEAST(0), .otherwise = SETTING_NUMBER_IS(0)},
    {"layers", setting_layers, .otherwise = SETTING_WORD_IS("all")},
    {"init", setting_word, .choices = expert_inits, .otherwise = SETTING_WORD_IS("replicate")},
    {"segments", setting_integer, FROM_TO(1, MAX_EXPERTS), .otherwise = SETTING_INTEGER_IS(1)},
    {"hidden", setting_size, .otherwise = NULL},
    {"shared", setting_integer, FROM_TO(0, 1), .otherwise = SETTING_INTEGER_IS(0)},
    {0},
};

static const SettingRow adamw[] = {
    {"beta1", setting_number, MOMENT, .otherwise = SETTING_NUMBER_IS(0.9)},
    {"beta2", setting_number, MOMENT, .otherwise = SETTING_NUMBER_IS(0.95)},
    {"eps", setting_number, MORE_THAN(0), .otherwise = SETTING_NUMBER_IS(1e-8), .attr = "epsilon"},
    {"weight_decay", setting_number, AT_LEAST(0), .otherwise = SETTING_NUMBER_IS(0.1)},
    {0},
};
static const Choice optimizers[] = {{"adamw", adamw}, {0}};
static const Choice schedules[] = {{"cosine", NULL}, {"wsd", NULL}, {"constant", NULL}, {0}};

/* What global_batch and decay_steps are where nobody says depends on the rest: complete_train. */
static const SettingRow train_rows[] = {
    {"steps", setting_integer, COUNT(1), .otherwise = SETTING_INTEGER_IS(1000)},
    {"global_batch", setting_integer, COUNT(1)},
    {"lr", setting_number, MORE_THAN(0), .otherwise = SETTING_NUMBER_IS(1e-4)},
    {"min_lr", setting_number, FROM_TO(0, 1), .otherwise = SETTING_NUMBER_IS(0.1)},
    {"schedule", setting_word, .choices = schedules, .otherwise = SETTING_WORD_IS("cosine")},
    {"warmup", setting_integer, COUNT(0), .otherwise = SETTING_INTEGER_IS(0)},
    {"decay_steps", setting_integer, COUNT(0)},
    {"optimizer", setting_word, .choices = optimizers, .otherwise = SETTING_WORD_IS("adamw")},
    {"clip", setting_number, AT_LEAST(0), .otherwise = SETTING_NUMBER_IS(1)},
    {"eval_every", setting_integer, COUNT(0), .otherwise = SETTING_INTEGER_IS(0)},
    {"save_every", setting_integer, COUNT(0), .otherwise = SETTING_INTEGER_IS(0)},
    {"seed", setting_integer, COUNT(0), .otherwise = SETTING_INTEGER_IS(0)},
    {0},
};

static const SettingRow mesh_rows[] = {
    {"data", setting_integer, FROM_TO(1, MAX_RANKS), .otherwise = SETTING_INTEGER_IS(1)},
    {"expert", setting_integer, FROM_TO(1, MAX_RANKS), .otherwise = SETTING_INTEGER_IS(1)},
    {"tensor", setting_integer, FROM_TO(1, MAX_RANKS), .otherwise = SETTING_INTEGER_IS(1)},
    {"context", setting_integer, FROM_TO(1, MAX_RANKS), .otherwise = SETTING_INTEGER_IS(1)},
    {"pipeline", setting_integer, FROM_TO(1, MAX_RANKS), .otherwise = SETTING_INTEGER_IS(1)},
    {0},
};

/* ---- What the checks share ----------------------------------------------------------------------------------------
 */

/* In the order of the directives; each may look at those before it. */
typedef enum { CLAUSE_UPCYCLE, CLAUSE_TRAIN, CLAUSE_MESH, CLAUSE_CHECKPOINT, CLAUSE_EXPORT, CLAUSE_COUNT } ClauseKind;

typedef struct {
    const Clause *clause; /* NULL: the model has none */
    Attrs attrs;
    bool is_good;
} ClauseState;

typedef struct {
    Program *program;
    Module *module;
    bool is_lowered; /* the module has every call that the model makes */
    ClauseState states[CLAUSE_COUNT];
} Clauses;

/* At the value of `key`. Evaluates to false. */
#define CLAUSE_ERROR(clauses, clause, key, ...)                                                                        \
    (diagnostics_error((clauses)->program->diagnostics, settings_range(clause, key), __VA_ARGS__), false)

/* Dim `dim` of the tokens; 0 where the model has no graph. */
static int64_t tokens_extent(const Module *module, int dim) {
    const Graph *forward = module_find_graph(module, "forward");
    const Value *tokens = forward != NULL ? graph_find_input(forward, "tokens") : NULL;
    return tokens != NULL && tokens->type.rank == 2 ? tokens->type.dims[dim].extent : 0;
}

/* How often the model calls a function. */
static int64_t count_calls(const Module *module, const char *function) {
    int64_t n = 0;
    for (size_t i = 0; i < module->n_scopes; i++)
        n += strcmp(module->scopes[i].function, function) == 0;
    return n;
}

/* ---- upcycle ------------------------------------------------------------------------------------------------------
 */

static bool check_function(Clauses *clauses, const Clause *clause, int64_t *n_calls) {
    Program *program = clauses->program;
    const Symbol *symbol = program_find(program, clause->name.text);
    *n_calls = 0;
    if (symbol == NULL || symbol->kind != SYMBOL_FUNCTION) {
        size_t n;
        const char **names = program_names(program, SYMBOL_FUNCTION, &n);
        diagnostics_error(program->diagnostics, clause->name.range, "the model has no function '%s'%s",
                          clause->name.text, spelling_hint(program->arena, clause->name.text, names, n));
        return false;
    }
    if (strcmp(clause->name.text, "main") == 0) {
        diagnostics_error(program->diagnostics, clause->name.range,
                          "'main' is the whole model; name a function that it calls, such as its MLP");
        return false;
    }
    *n_calls = count_calls(clauses->module, clause->name.text);
    if (*n_calls > 0 || !clauses->is_lowered)
        return true;
    diagnostics_error(program->diagnostics, clause->name.range, "'%s' is never called, so there is nothing to upcycle",
                      clause->name.text);
    diagnostics_note(program->diagnostics, symbol->name.range, "it is defined here");
    return false;
}

static bool check_layers(Clauses *clauses, const Clause *clause, const Attrs *attrs, int64_t n_calls) {
    int n;
    const int64_t *layers = attrs_ints(attrs, "layers", &n);
    if (!clauses->is_lowered || n_calls == 0 || (layers[0] < n_calls && layers[1] <= n_calls))
        return true;
    return CLAUSE_ERROR(
        clauses, clause, "layers",
        "the model calls '%s' %lld time%s, so its layers are 0 to %lld (the end of a range is the layer "
        "after its last)",
        clause->name.text, (long long)n_calls, n_calls == 1 ? "" : "s", (long long)n_calls - 1);
}

static bool check_segments(Clauses *clauses, const Clause *clause, const Attrs *attrs) {
    static const char *const divided[] = {"experts", "top_k"};
    int64_t segments = attrs_int(attrs, "segments", 1);
    bool is_good = true;
    for (size_t i = 0; i < sizeof divided / sizeof *divided; i++) {
        int64_t value = attrs_int(attrs, divided[i], 0);
        if (value % segments != 0)
            is_good =
                CLAUSE_ERROR(clauses, clause, "segments", "segments must divide %s, and %lld does not divide %lld",
                             divided[i], (long long)segments, (long long)value);
    }
    return is_good;
}

static bool lower_upcycle(Clauses *clauses, const Clause *clause, Attrs *attrs) {
    SettingReader reader = {.program = clauses->program, .attrs = attrs};
    int64_t n_calls;
    bool is_good = check_function(clauses, clause, &n_calls);
    if (!settings_read(&reader, clause, upcycle_rows, false))
        return false;
    int64_t experts = attrs_int(attrs, "experts", 0), top_k = attrs_int(attrs, "top_k", 0);
    if (top_k > experts)
        is_good = CLAUSE_ERROR(clauses, clause, "top_k", "top_k is %lld, and there are only %lld experts",
                               (long long)top_k, (long long)experts);
    is_good = check_segments(clauses, clause, attrs) && is_good;
    return check_layers(clauses, clause, attrs, n_calls) && is_good;
}

/* ---- train --------------------------------------------------------------------------------------------------------
 */

static const Choice decays[] = {{"decay", NULL}, {"no_decay", NULL}, {0}};

/* Sets whether the weights whose dense name matches decay; the number of them. */
static size_t set_decay(Module *module, const char *pattern, bool decays_them) {
    size_t n = 0;
    for (size_t i = 0; i < module->n_states; i++) {
        State *state = module->states[i];
        if (strcmp(state->kind, "weight") != 0 ||
            fnmatch(pattern, attrs_string(&state->attrs, "source", state->name), 0) != 0)
            continue;
        attrs_set_bool(module->arena, &state->attrs, "decay", decays_them);
        n++;
    }
    return n;
}

static bool apply_pattern(Clauses *clauses, const Setting *setting) {
    Program *program = clauses->program;
    Attrs attrs = {0};
    SettingReader reader = {.program = program, .attrs = &attrs};
    SettingRow row = {"decay", .choices = decays};
    row.key = arena_printf(program->arena, "\"%s\"", setting->key.text);
    row.attr = "decay";
    if (!setting_word(&reader, &row, setting->value))
        return false;
    bool decays_them = strcmp(attrs_string(&attrs, "decay", ""), "decay") == 0;
    if (set_decay(clauses->module, setting->key.text, decays_them) == 0 && clauses->module->n_states > 0)
        diagnostics_warning(program->diagnostics, setting->key.range,
                            "no weight of the dense model has a name that matches \"%s\"", setting->key.text);
    return true;
}

/* Weights of two or more dims decay, then patterns say otherwise, the last that matches a weight in the end. */
static bool apply_decay(Clauses *clauses, const Clause *clause) {
    bool is_good = true;
    for (size_t i = 0; i < clauses->module->n_states; i++) {
        State *state = clauses->module->states[i];
        if (strcmp(state->kind, "weight") == 0)
            attrs_set_bool(clauses->module->arena, &state->attrs, "decay", state->type.rank >= 2);
    }
    for (size_t i = 0; clause != NULL && i < clause->n_settings; i++) {
        if (clause->settings[i]->is_string_key)
            is_good = apply_pattern(clauses, clause->settings[i]) && is_good;
    }
    return is_good;
}

static bool check_steps(Clauses *clauses, const Clause *clause, const Attrs *attrs, const char *key) {
    int64_t part = attrs_int(attrs, key, 0), steps = attrs_int(attrs, "steps", 0);
    return part <= steps || CLAUSE_ERROR(clauses, clause, key, "%s is %lld, and there are only %lld steps", key,
                                         (long long)part, (long long)steps);
}

static bool check_global_batch(Clauses *clauses, const Clause *clause, const Attrs *attrs) {
    int64_t micro_batch = tokens_extent(clauses->module, 0), global_batch = attrs_int(attrs, "global_batch", 1);
    return micro_batch == 0 || global_batch % micro_batch == 0 ||
           CLAUSE_ERROR(clauses, clause, "global_batch",
                        "global_batch is %lld sequences; it must be a multiple of the %lld of a micro-batch, which is "
                        "the first dim of main's tokens",
                        (long long)global_batch, (long long)micro_batch);
}

static bool check_train(Clauses *clauses, const Clause *clause, const Attrs *attrs) {
    bool is_good = check_steps(clauses, clause, attrs, "warmup");
    is_good = check_steps(clauses, clause, attrs, "decay_steps") && is_good;
    return check_global_batch(clauses, clause, attrs) && is_good;
}

/* Defaults that depend on the model or on other settings. */
static void complete_train(Clauses *clauses, Attrs *attrs) {
    Arena *arena = clauses->program->arena;
    int64_t micro_batch = tokens_extent(clauses->module, 0);
    if (attrs_find(attrs, "global_batch") == NULL)
        attrs_set_int(arena, attrs, "global_batch", micro_batch > 0 ? micro_batch : 1);
    if (attrs_find(attrs, "decay_steps") == NULL)
        attrs_set_int(arena, attrs, "decay_steps", attrs_int(attrs, "steps", 0) / 10);
}

static bool lower_train(Clauses *clauses, const Clause *clause, Attrs *attrs) {
    SettingReader reader = {.program = clauses->program, .attrs = attrs};
    bool is_good = true;
    if (clause != NULL)
        is_good = settings_read(&reader, clause, train_rows, true);
    else
        settings_default(&reader, train_rows);
    complete_train(clauses, attrs);
    is_good = apply_decay(clauses, clause) && is_good;
    return is_good && (clause == NULL || check_train(clauses, clause, attrs));
}

/* ---- mesh, checkpoint, export -------------------------------------------------------------------------------------
 */

/* `what`, of extent `extent`, goes to the ranks of an axis in equal parts. */
static bool check_axis(Clauses *clauses, const Clause *clause, const Attrs *attrs, const char *axis, const char *what,
                       int64_t extent) {
    int64_t ranks = attrs_int(attrs, axis, 1);
    return extent % ranks == 0 || CLAUSE_ERROR(clauses, clause, axis, "%lld ranks cannot share %lld %s equally",
                                               (long long)ranks, (long long)extent, what);
}

static bool lower_mesh(Clauses *clauses, const Clause *clause, Attrs *attrs) {
    SettingReader reader = {.program = clauses->program, .attrs = attrs};
    if (!settings_read(&reader, clause, mesh_rows, false))
        return false;
    const ClauseState *upcycle = &clauses->states[CLAUSE_UPCYCLE], *train = &clauses->states[CLAUSE_TRAIN];
    int64_t micro_batch = tokens_extent(clauses->module, 0);
    bool is_good = true;
    if (micro_batch > 0 && train->is_good)
        is_good = check_axis(clauses, clause, attrs, "data", "micro-batches of a step",
                             attrs_int(&train->attrs, "global_batch", 1) / micro_batch);
    if (upcycle->clause != NULL && upcycle->is_good)
        is_good = check_axis(clauses, clause, attrs, "expert", "experts", attrs_int(&upcycle->attrs, "experts", 1)) &&
                  is_good;
    return check_axis(clauses, clause, attrs, "context", "tokens of a sequence", tokens_extent(clauses->module, 1)) &&
           is_good;
}

static bool lower_checkpoint(Clauses *clauses, const Clause *clause, Attrs *attrs) {
    return config_read_checkpoint(clauses->program, clause, attrs);
}

static bool lower_export(Clauses *clauses, const Clause *clause, Attrs *attrs) {
    const ClauseState *upcycle = &clauses->states[CLAUSE_UPCYCLE];
    return config_read_export(clauses->program, clause, upcycle->clause != NULL ? &upcycle->attrs : NULL,
                              upcycle->is_good, attrs);
}

/* ---- All of them --------------------------------------------------------------------------------------------------
 */

static const struct {
    const char *name;
    bool (*lower)(Clauses *clauses, const Clause *clause, Attrs *attrs);
    bool is_of_moe; /* left out of the dense baseline */
    bool is_always; /* there is a directive without a clause too */
} clause_rows[CLAUSE_COUNT] = {
    [CLAUSE_UPCYCLE] = {"upcycle", lower_upcycle, .is_of_moe = true},
    [CLAUSE_TRAIN] = {"train", lower_train, .is_always = true},
    [CLAUSE_MESH] = {.name = "mesh", .lower = lower_mesh},
    [CLAUSE_CHECKPOINT] = {.name = "checkpoint", .lower = lower_checkpoint},
    [CLAUSE_EXPORT] = {"export", lower_export, .is_of_moe = true},
};

/* The model's one clause of a kind, or NULL; false if there are more. */
static bool find_clause(Program *program, const char *kind, const Clause **out) {
    bool is_good = true;
    *out = NULL;
    for (size_t i = 0; i < program->n_clauses; i++) {
        const Clause *clause = program->clauses[i];
        if (strcmp(clause->kind.text, kind) != 0)
            continue;
        if (*out != NULL) {
            diagnostics_error(program->diagnostics, clause->kind.range, "a model has one %s clause", kind);
            diagnostics_note(program->diagnostics, (*out)->kind.range, "the first is here");
            is_good = false;
        } else {
            *out = clause;
        }
    }
    return is_good;
}

static void add_directive(Clauses *clauses, ClauseKind kind) {
    const ClauseState *state = &clauses->states[kind];
    const Clause *clause = state->clause;
    bool is_left_out =
        clause == NULL ? !clause_rows[kind].is_always : clause_rows[kind].is_of_moe && clauses->program->options->dense;
    if (is_left_out)
        return;
    const char *name = clause != NULL && clause->name.text != NULL ? clause->name.text : "";
    Directive *directive = module_add_directive(clauses->module, clause_rows[kind].name, name,
                                                clause != NULL ? clause->range.begin : (Loc){0});
    directive->attrs = attrs_clone(clauses->module->arena, &state->attrs);
}

bool clauses_lower(Program *program, Module *module) {
    Clauses clauses = {.program = program, .module = module};
    clauses.is_lowered = module->n_scopes > 0 && diagnostics_errors(program->diagnostics) == 0;
    bool is_good = true;
    for (ClauseKind kind = 0; kind < CLAUSE_COUNT; kind++) {
        ClauseState *state = &clauses.states[kind];
        state->is_good = find_clause(program, clause_rows[kind].name, &state->clause);
        if (state->clause != NULL || clause_rows[kind].is_always)
            state->is_good = clause_rows[kind].lower(&clauses, state->clause, &state->attrs) && state->is_good;
        is_good = is_good && state->is_good;
    }
    for (ClauseKind kind = 0; is_good && kind < CLAUSE_COUNT; kind++)
        add_directive(&clauses, kind);
    return is_good;
}
