/* What a build costs, for people: parameters, FLOPs, bytes, launches. */
#include <inttypes.h>
#include <string.h>

#include "codegen/codegen.h"
#include "codegen/plan.h"

/* "1.35 M"; `step` 1000 or 1024, units from 1 up. */
static const char *format_amount(Arena *arena, double amount, double step, const char *const *units) {
    int unit = 0;
    for (; amount >= step && units[unit + 1]; unit++)
        amount /= step;
    int digits = unit == 0 || amount >= 100 ? 0 : amount >= 10 ? 1 : 2;
    return arena_printf(arena, "%.*f%s%s", digits, amount, units[unit][0] ? " " : "", units[unit]);
}

static const char *format_count(Arena *arena, double count) {
    static const char *const units[] = {"", "k", "M", "G", "T", "P", "E", NULL};
    return format_amount(arena, count, 1000, units);
}

static const char *format_bytes(Arena *arena, int64_t n_bytes) {
    static const char *const units[] = {"B", "KiB", "MiB", "GiB", "TiB", "PiB", NULL};
    return format_amount(arena, (double)n_bytes, 1024, units);
}

static void print_model(FILE *out, Arena *arena, const Plan *plan) {
    const PlanFigures *figures = &plan->figures;
    fprintf(out, "%-16s%s, ", "model", plan->module->name);
    if (figures->n_moe_layers > 0)
        fprintf(out, "%" PRId64 " MoE layer%s of %" PRId64 " experts, top %" PRId64 "\n", figures->n_moe_layers,
                figures->n_moe_layers == 1 ? "" : "s", figures->n_experts, figures->top_k);
    else
        fputs("dense\n", out);
    fprintf(out, "%-16s%" PRId64 " x %" PRId64 " tokens, vocabulary %" PRId64 "\n", "micro-batch", figures->micro_batch,
            figures->sequence, figures->vocab);
    fprintf(out, "%-16s%s\n", "precision",
            strcmp(figures->precision, "bf16") == 0 ? "bf16 operands of matrix products, else f32"
                                                    : figures->precision);
    fprintf(out, "%-16s%9s  %17.0f total\n", "parameters", format_count(arena, figures->total_parameters),
            figures->total_parameters);
    fprintf(out, "%-16s%9s  %17.0f active per token\n", "", format_count(arena, figures->active_parameters),
            figures->active_parameters);
    fprintf(out, "%-16s%9s  %17.0f per token of training\n", "FLOPs", format_count(arena, figures->flops_per_token),
            figures->flops_per_token);
}

/* Whether gradients need storage of their own: not those in the arena where a step is one micro-batch. */
static bool needs_gradients(const Plan *plan) {
    const Directive *train = module_find_directive(plan->module, "train");
    int64_t n_sequences = train ? attrs_int(&train->attrs, "global_batch", 1) : 1;
    bool is_in_arena = plan->n_weights > 0 && plan->weights[0].gradient.space == PLAN_ARENA;
    return !is_in_arena || n_sequences > plan->figures.micro_batch;
}

static void print_memory(FILE *out, Arena *arena, const Plan *plan) {
    static const char *const titles[] = {
#define X(id, kind, title) title,
        PLAN_SPACES(X)
#undef X
    };
    int64_t n_bytes = 0;
    for (PlanSpace space = 0; space < PLAN_SPACE_COUNT; space++) {
        int64_t n = space == PLAN_GRAD && !needs_gradients(plan) ? 0 : plan->space_bytes[space];
        fprintf(out, "%-16s%9s  %17" PRId64 " %s\n", space == 0 ? "bytes" : "", format_bytes(arena, n), n,
                titles[space]);
        n_bytes += n;
    }
    fprintf(out, "%-16s%9s  %17" PRId64 " in all\n", "", format_bytes(arena, n_bytes), n_bytes);
}

/* What the backward half computes again, and the budget that may ask for it. */
static void print_recomputed(FILE *out, Arena *arena, const Module *module) {
    const Directive *memory = module_find_directive(module, "memory");
    const Graph *train = module_find_graph(module, "train");
    int64_t budget = memory ? attrs_int(&memory->attrs, "budget", 0) : 0;
    int64_t n_values = train ? attrs_int(&train->attrs, "recomputed", 0) : 0;
    if (budget > 0)
        fprintf(out, "%-16s%9s  %17" PRId64 " budget\n", "", format_bytes(arena, budget), budget);
    if (n_values == 0)
        return;
    double again = attrs_float(&train->attrs, "recomputed_flops", 0), flops = -again;
    for (const Node *node = train->first; node; node = node->next)
        flops += node_flops(node);
    int64_t n_bytes = attrs_int(&train->attrs, "recomputed_bytes", 0);
    fprintf(out, "%-16s%9s  %17" PRId64 " in %" PRId64 " values not kept, for %.2f %% more FLOPs\n", "recomputed",
            format_bytes(arena, n_bytes), n_bytes, n_values, flops > 0 ? 100 * again / flops : 0);
}

/* The activations of a program stand in one arena, which can't be smaller than what is live at once. */
static void print_programs(FILE *out, const Plan *plan) {
    fprintf(out, "%-16s%9s  %17s  %12s\n", "programs", "launches", "activation bytes", "/ least");
    for (size_t i = 0; i < plan->n_programs; i++) {
        const PlanProgram *program = &plan->programs[i];
        fprintf(out, "  %-14s%9zu  %17" PRId64 "  ", program->graph->name, program->n_launches, program->arena_bytes);
        if (program->lower_bound > 0)
            fprintf(out, "%12.3f\n", (double)program->arena_bytes / (double)program->lower_bound);
        else
            fprintf(out, "%12s\n", "-");
    }
    fprintf(out, "%-16s%9zu distinct\n", "kernels", kernels_count(plan->kernels));
}

bool codegen_print_summary(FILE *out, const Module *module, Reporter *reporter) {
    Arena *arena = arena_new();
    const Plan *plan = plan_collect(arena, module, reporter);
    if (plan) {
        print_model(out, arena, plan);
        print_memory(out, arena, plan);
        print_recomputed(out, arena, module);
        print_programs(out, plan);
    }
    arena_free(arena);
    return plan;
}
