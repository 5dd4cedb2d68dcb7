#include "codegen/plan_print.h"

#include <inttypes.h>
#include <math.h>

#include "ir/text.h"

/* ---- Literals -------------------------------------------------------------------------------------------------- */

/* What stands between the quotes of a string literal. */
static void print_characters(FILE *out, const char *text) {
    for (; *text; text++) {
        unsigned char c = (unsigned char)*text;
        if (c == '"' || c == '\\')
            fprintf(out, "\\%c", c);
        else if (c < 0x20 || c == 0x7f)
            fprintf(out, "\\%03o", c); /* unlike \x, ended by its third digit */
        else
            putc(c, out);
    }
}

void plan_print_string(FILE *out, const char *text) {
    if (!text) {
        fputs("NULL", out);
        return;
    }
    putc('"', out);
    print_characters(out, text);
    putc('"', out);
}

void plan_print_loc(FILE *out, const Module *module, Loc loc) {
    putc('"', out);
    if (loc.line > 0) {
        print_characters(out, module->files[loc.file]);
        fprintf(out, ":%u:%u", loc.line, loc.column);
    }
    putc('"', out);
}

void plan_print_double(FILE *out, double value) {
    if (isnan(value))
        fputs("__builtin_nan(\"\")", out);
    else if (isinf(value))
        fputs(value < 0 ? "-__builtin_inf()" : "__builtin_inf()", out);
    else
        text_print_float(out, value);
}

void plan_print_dims(FILE *out, const Type *type) {
    fputs(type->rank == 0 ? "{0" : "{", out);
    for (int i = 0; i < type->rank; i++)
        fprintf(out, "%s%" PRId64, i > 0 ? ", " : "", type->dims[i].extent);
    putc('}', out);
}

void plan_print_table_fields(FILE *out, const char *field, const char *array, size_t n) {
    fprintf(out, "    .%s = %s,\n    .n_%s = %zu,\n", field, n > 0 ? array : "NULL", field, n);
}

/* ---- Programs -------------------------------------------------------------------------------------------------- */

static const char *const space_names[] = {
#define X(id, kind, title) #id,
    PLAN_SPACES(X)
#undef X
};

/* WEIGHT(4096), or PACKED(3): macros of the generated source. */
static void print_address(FILE *out, PlanAddress address) {
    const char *name = address.space == PLAN_PACKED ? "PACKED" : space_names[address.space];
    fprintf(out, "%s(%" PRId64 ")", name, address.offset);
}

static void print_value(FILE *out, const Value *value) {
    putc('"', out);
    text_print_value(out, value);
    putc('"', out);
}

static void print_args(FILE *out, const PlanProgram *program) {
    if (program->n_args == 0)
        return;
    fprintf(out, "\nstatic const MoecAddress %s_args[] = {\n", program->graph->name);
    for (size_t i = 0; i < program->n_launches; i++) {
        const PlanLaunch *launch = &program->launches[i];
        fprintf(out, "    /* %zu */", i);
        for (size_t j = 0; j < launch->n_args; j++) {
            putc(' ', out);
            print_address(out, program->args[launch->first_arg + j]);
            putc(',', out);
        }
        putc('\n', out);
    }
    fputs("};\n", out);
}

static void print_launches(FILE *out, const Plan *plan, const PlanProgram *program) {
    if (program->n_launches == 0)
        return;
    fprintf(out, "\nstatic const MoecLaunch %s_launches[] = {\n", program->graph->name);
    for (size_t i = 0; i < program->n_launches; i++) {
        const PlanLaunch *launch = &program->launches[i];
        fprintf(out, "    /* %zu */ {%u, %zu, %zu, ", i, launch->kernel, launch->first_arg, launch->n_args);
        print_value(out, &launch->node->results[0]);
        fputs(", ", out);
        plan_print_loc(out, plan->module, launch->node->loc);
        fprintf(out, ", %zu, %zu}, /* %s */\n", launch->first_end, launch->n_ends,
                kernels_get(plan->kernels, launch->kernel)->name);
    }
    fputs("};\n", out);
}

static void print_ends(FILE *out, const PlanProgram *program) {
    if (program->n_ends == 0)
        return;
    int n_offsets;
    const int64_t *offsets = attrs_ints(&program->graph->attrs, "offsets", &n_offsets);
    fprintf(out, "\nstatic const MoecRange %s_ends[] = {\n", program->graph->name);
    for (size_t i = 0; i < program->n_launches; i++) {
        const PlanLaunch *launch = &program->launches[i];
        if (launch->n_ends == 0)
            continue;
        fprintf(out, "    /* %zu */", i);
        for (size_t j = 0; j < launch->n_ends; j++) {
            const Value *value = program->ends[launch->first_end + j];
            fprintf(out, " {%" PRId64 ", %" PRId64 "},", offsets[value->number], type_n_bytes(&value->type));
        }
        putc('\n', out);
    }
    fputs("};\n", out);
}

static const char *dtype_macro(DType dtype) {
    static const char *const names[] = {
#define X(id, name, size) "MOEC_DTYPE_" #id,
        DTYPES(X)
#undef X
    };
    return names[dtype];
}

static void print_tensors(FILE *out, const char *program, const char *what, const PlanTensor *tensors, size_t n) {
    if (n == 0)
        return;
    fprintf(out, "\nstatic const MoecTensor %s_%s[] = {\n", program, what);
    for (size_t i = 0; i < n; i++) {
        const Type *type = tensors[i].type;
        fputs("    {", out);
        plan_print_string(out, tensors[i].name);
        fprintf(out, ", %s, %d, ", dtype_macro(type->dtype), type->rank);
        plan_print_dims(out, type);
        fputs(", ", out);
        print_address(out, tensors[i].at);
        fputs("},\n", out);
    }
    fputs("};\n", out);
}

static void print_program_table(FILE *out, const char *program, const char *field, size_t n) {
    if (n > 0)
        fprintf(out, "     .%s = %s_%s, .n_%s = %zu,\n", field, program, field, field, n);
}

static void print_program(FILE *out, const PlanProgram *program) {
    const char *name = program->graph->name;
    fprintf(out, "    {.name = \"%s\",\n", name);
    print_program_table(out, name, "launches", program->n_launches);
    print_program_table(out, name, "args", program->n_args);
    print_program_table(out, name, "ends", program->n_ends);
    print_program_table(out, name, "inputs", program->n_inputs);
    print_program_table(out, name, "outputs", program->n_outputs);
    fprintf(out, "     .arena_bytes = %" PRId64 "},\n", program->arena_bytes);
}

void plan_print_programs(FILE *out, const Plan *plan) {
    fputs("\n/* ---- Programs: addresses are bytes from the start of a memory kind ---- */\n\n", out);
    for (PlanSpace space = 0; space < PLAN_SPACE_COUNT; space++)
        fprintf(out, "#define %s(offset) {MOEC_SPACE_%s, offset}\n", space_names[space], space_names[space]);
    if (plan->n_packed > 0)
        fputs("#define PACKED(index) {MOEC_PACKED, index}\n", out);
    for (size_t i = 0; i < plan->n_programs; i++) {
        const PlanProgram *program = &plan->programs[i];
        print_args(out, program);
        print_launches(out, plan, program);
        print_ends(out, program);
        print_tensors(out, program->graph->name, "inputs", program->inputs, program->n_inputs);
        print_tensors(out, program->graph->name, "outputs", program->outputs, program->n_outputs);
    }
    if (plan->n_programs == 0)
        return;
    fputs("\nstatic const MoecProgram programs[] = {\n", out);
    for (size_t i = 0; i < plan->n_programs; i++)
        print_program(out, &plan->programs[i]);
    fputs("};\n", out);
}
