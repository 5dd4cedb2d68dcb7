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
            strcmp(figures->precision, "bf16") == 0 ? "bf16 around matrix products, else f32" : figures->precision);
    fprintf(out, "%-16s%9s  %17.0f total\n", "parameters", format_count(arena, figures->total_parameters),
            figures->total_parameters);
    fprintf(out, "%-16s%9s  %17.0f active per token\n", "", format_count(arena, figures->active_parameters),
            figures->active_parameters);
    fprintf(out, "%-16s%9s  %17.0f per token of training\n", "FLOPs", format_count(arena, figures->flops_per_token),
            figures->flops_per_token);
}

static void print_memory(FILE *out, Arena *arena, const Plan *plan) {
    static const char *const titles[] = {
#define X(id, kind, title) title,
        PLAN_SPACES(X)
#undef X
    };
    for (PlanSpace space = 0; space < PLAN_SPACE_COUNT; space++) {
        int64_t n = plan_bytes_of(plan, space);
        fprintf(out, "%-16s%9s  %17" PRId64 " %s\n", space == 0 ? "bytes" : "", format_bytes(arena, n), n,
                titles[space]);
    }
    if (plan->packed_bytes > 0)
        fprintf(out, "%-16s%9s  %17" PRId64 " packed weights\n", "", format_bytes(arena, plan->packed_bytes),
                plan->packed_bytes);
    int64_t n_bytes = plan_bytes(plan) + plan->packed_bytes;
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

static void print_why(FILE *out, int64_t n, const char *why) {
    if (n > 0)
        fprintf(out, "; %" PRId64 " %s", n, why);
}

/* Packed copies that products of a step would read, and why it keeps no more of them. */
static void print_packed(FILE *out, const Plan *plan) {
    int64_t n_made = 0, n_read = 0, n_all = 0, n_read_once = 0, n_paying = 0;
    for (size_t i = 0; i < plan->n_packed; i++) {
        const PlanPacked *packed = &plan->packed[i];
        int64_t n = packed->n_trained * plan_n_micro_batches(plan);
        n_all += n > 0;
        n_read_once += n == 1;
        n_paying += packed->pays;
        n_made += packed->is_made;
        n_read += packed->is_made ? n : 0;
    }
    if (n_all == 0)
        return;
    fprintf(out, "%-16s%" PRId64 " of %" PRId64 " weights, for %" PRId64 " products of a step", "packed", n_made, n_all,
            n_read);
    print_why(out, n_read_once, "are read once");
    print_why(out, n_all - n_read_once - n_paying, "save less time than memory");
    print_why(out, n_paying - n_made, "are above the budget");
    putc('\n', out);
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
        print_packed(out, plan);
        print_programs(out, plan);
    }
    arena_free(arena);
    return plan;
}
