/* The generated source from top to bottom. */
#include <inttypes.h>

#include "codegen/codegen.h"
#include "codegen/plan_print.h"

static void print_kernels(FILE *out, const Kernels *kernels) {
    size_t n = kernels_count(kernels);
    fputs("\n/* ---- Kernels ---- */\n", out);
    for (size_t i = 0; i < n; i++)
        fprintf(out, "\n%s", kernels_get(kernels, i)->text);
    if (n == 0)
        return;
    fputs("\nstatic const MoecKernel kernels[] = {\n", out);
    for (size_t i = 0; i < n; i++) {
        const Kernel *kernel = kernels_get(kernels, i);
        fprintf(out, "    /* %zu */ {%s, \"%s\", ", i, kernel->name, kernel->name);
        plan_print_double(out, kernel->flops);
        fputs(", ", out);
        plan_print_double(out, kernel->bytes);
        fputs("},\n", out);
    }
    fputs("};\n", out);
}

/* gcc's macro for what it may use, and the name that the runtime asks the processor for. */
#define CPU_FEATURES(X)                                                                                                \
    X(SSE3, "sse3")                                                                                                    \
    X(SSSE3, "ssse3")                                                                                                  \
    X(SSE4_1, "sse4.1")                                                                                                \
    X(SSE4_2, "sse4.2")                                                                                                \
    X(POPCNT, "popcnt")                                                                                                \
    X(LZCNT, "lzcnt")                                                                                                  \
    X(MOVBE, "movbe")                                                                                                  \
    X(BMI, "bmi")                                                                                                      \
    X(BMI2, "bmi2")                                                                                                    \
    X(F16C, "f16c")                                                                                                    \
    X(FMA, "fma")                                                                                                      \
    X(AVX, "avx")                                                                                                      \
    X(AVX2, "avx2")                                                                                                    \
    X(AVX512F, "avx512f")                                                                                              \
    X(AVX512BW, "avx512bw")                                                                                            \
    X(AVX512CD, "avx512cd")                                                                                            \
    X(AVX512DQ, "avx512dq")                                                                                            \
    X(AVX512VL, "avx512vl")                                                                                            \
    X(AVX512VNNI, "avx512vnni")                                                                                        \
    X(AVX512BF16, "avx512bf16")

static void print_cpu_features(FILE *out) {
    fputs("\n/* What the C compiler was allowed to use, and the processor must have. */\n"
          "static const char cpu_features[] = \"\"\n",
          out);
#define X(macro, name) fputs("#ifdef __" #macro "__\n    \"" name " \"\n#endif\n", out);
    CPU_FEATURES(X)
#undef X
    fputs("    ;\n", out);
}

static void print_figures(FILE *out, const PlanFigures *figures) {
    fprintf(out, "    .is_moe = %s,\n", figures->n_moe_layers > 0 ? "true" : "false");
    const struct {
        const char *field;
        int64_t value;
    } counts[] = {
        {"micro_batch", figures->micro_batch},
        {"sequence", figures->sequence},
        {"vocab", figures->vocab},
        {"generate_sequence", figures->generate_sequence},
        {"n_experts", figures->n_experts},
        {"top_k", figures->top_k},
        {"n_moe_layers", figures->n_moe_layers},
    };
    for (size_t i = 0; i < sizeof counts / sizeof *counts; i++)
        fprintf(out, "    .%s = %" PRId64 ",\n", counts[i].field, counts[i].value);
    const struct {
        const char *field;
        double value;
    } amounts[] = {
        {"active_parameters", figures->active_parameters},
        {"total_parameters", figures->total_parameters},
        {"model_flops_per_token", figures->flops_per_token},
        {"full_flops_per_token", figures->full_flops_per_token},
    };
    for (size_t i = 0; i < sizeof amounts / sizeof *amounts; i++) {
        fprintf(out, "    .%s = ", amounts[i].field);
        plan_print_double(out, amounts[i].value);
        fputs(",\n", out);
    }
}

static void print_plan(FILE *out, Arena *arena, const Plan *plan, const char *symbol) {
    fprintf(out, "\nconst MoecPlan %s = {\n    .version = MOEC_PLAN_VERSION,\n    .model = ", symbol);
    plan_print_string(out, plan->module->name);
    fprintf(out, ",\n    .hash = \"%s\",\n", plan_hash(arena, plan));
    print_figures(out, &plan->figures);
    fputs("    .space_bytes = {", out);
    for (PlanSpace space = 0; space < PLAN_SPACE_COUNT; space++)
        fprintf(out, "%s%" PRId64, space > 0 ? ", " : "", plan->space_bytes[space]);
    fputs("},\n", out);
    plan_print_table_fields(out, "kernels", "kernels", kernels_count(plan->kernels));
    plan_print_table_fields(out, "programs", "programs", plan->n_programs);
    plan_print_model_fields(out, plan);
    fprintf(out, "    .precision = \"%s\",\n    .cpu_features = cpu_features,\n    CUDA_FIELDS,\n};\n",
            plan->figures.precision);
}

bool codegen_emit_c(FILE *out, const Module *module, const CodegenOptions *options, Reporter *reporter) {
    Arena *arena = arena_new();
    const Plan *plan = plan_collect(arena, module, reporter);
    bool is_done = plan;
    if (plan) {
        fprintf(out, "/* Model %s, made by moec. */\n", module->name);
        kernels_print_prelude(out);
        print_kernels(out, plan->kernels);
        is_done = plan_print_cuda(out, arena, plan, options, reporter);
        plan_print_programs(out, plan);
        plan_print_weights(out, plan);
        plan_print_packed(out, plan);
        plan_print_configs(out, plan);
        print_cpu_features(out);
        print_plan(out, arena, plan, options->plan_symbol);
    }
    arena_free(arena);
    return is_done;
}
