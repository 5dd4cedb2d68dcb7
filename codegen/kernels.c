#include "codegen/kernels.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "codegen/lower.h"
#include "ir/names.h"
#include "ir/text.h"
#include "ir/view.h"

struct Kernels {
    Arena *arena;
    const Module *module;
    Kernel *items;
    size_t n, capacity;
    Names bodies;          /* body text -> index */
    size_t n_of[OP_COUNT]; /* kernels of each op, which numbers them */
};

Kernels *kernels_new(Arena *arena, const Module *module) {
    Kernels *kernels = arena_new_of(arena, Kernels);
    kernels->module = module;
    kernels->arena = arena;
    kernels->bodies.arena = arena;
    return kernels;
}

size_t kernels_count(const Kernels *kernels) {
    return kernels->n;
}

const Kernel *kernels_get(const Kernels *kernels, size_t index) {
    assert(index < kernels->n);
    return &kernels->items[index];
}

bool kernel_operand_is_argument(const Node *node, int operand) {
    return view_owner(node->operands[operand])->def->op != OP_constant;
}

/* ---- Text ----------------------------------------------------------------------------------------------------- */

static LowerFunction *const lower_functions[OP_COUNT] = {
#define OP(name, operands, results, class, attributes, infer, flops, interpret, rows, derive, lower)                   \
    [OP_##name] = lower_##lower,
#include "ir/ops.def"
#undef OP
};

void lower_none(CPrinter *c, const Node *node) {
    (void)c, (void)node;
}

/* A memory stream whose text moves to the arena when it is closed. */
typedef struct {
    FILE *out;
    char *buffer;
    size_t n_bytes;
} TextStream;

static void text_open(TextStream *stream) {
    stream->out = open_memstream(&stream->buffer, &stream->n_bytes);
    assert(stream->out != NULL);
}

static char *text_close(TextStream *stream, Arena *arena) {
    fclose(stream->out);
    char *text = arena_strndup(arena, stream->buffer, stream->n_bytes);
    free(stream->buffer);
    return text;
}

static char *body_text(Arena *arena, const Node *node) {
    TextStream stream;
    text_open(&stream);
    CPrinter printer = {.arena = arena, .out = stream.out, .depth = 1};
    lower_functions[node->op](&printer, node);
    return text_close(&stream, arena);
}

/* %x.12 = add f32[4], f32[4] : f32[4] */
static void print_node(FILE *out, Arena *arena, const Node *node) {
    for (int i = 0; i < node->n_results; i++) {
        fputs(i > 0 ? ", " : "", out);
        text_print_value(out, &node->results[i]);
    }
    fprintf(out, " = %s", op_info(node->op)->name);
    for (int i = 0; i < node->n_operands; i++)
        fprintf(out, "%s %s", i > 0 ? "," : "", type_format(arena, &node->operands[i]->type));
    for (int i = 0; i < node->n_results; i++)
        fprintf(out, "%s %s", i > 0 ? "," : " :", type_format(arena, &node->results[i].type));
}

/* What stands above a kernel: the node that it was first made for. */
static char *heading_text(const Kernels *kernels, const Node *node, const Kernel *kernel) {
    TextStream stream;
    text_open(&stream);
    print_node(stream.out, kernels->arena, node);
    fputs("\n   ", stream.out);
    const Module *module = kernels->module;
    if (node->loc.line != 0 && node->loc.file < module->n_files)
        fprintf(stream.out, "%s:%u:%u   ", module->files[node->loc.file], node->loc.line, node->loc.column);
    fprintf(stream.out, "FLOPs %.3g   bytes %.3g", kernel->flops, kernel->bytes);
    return text_close(&stream, kernels->arena);
}

static char *kernel_text(const Kernels *kernels, const Kernel *kernel, const char *heading, const char *body) {
    TextStream stream;
    text_open(&stream);
    fputs("/* ", stream.out);
    for (const char *at = heading; *at != '\0'; at++) {
        fputc(*at, stream.out);
        if (at[0] == '*' && at[1] == '/') /* in a dim's name, for one: the comment must not end there */
            fputc(' ', stream.out);
    }
    fprintf(stream.out, " */\nstatic void %s(void *const *args) {\n%s}\n", kernel->name, body);
    return text_close(&stream, kernels->arena);
}

/* ---- The table ------------------------------------------------------------------------------------------------ */

static bool has_kernel_dtype(const Type *type) {
    return type->dtype == DTYPE_F32 || type->dtype == DTYPE_I32;
}

/* False after an error. */
static bool check_dtypes(const Kernels *kernels, const Node *node, Reporter *reporter) {
    for (int i = 0; i < node->n_operands + node->n_results; i++) {
        const Type *type = i < node->n_operands ? &node->operands[i]->type : &node->results[i - node->n_operands].type;
        if (has_kernel_dtype(type))
            continue;
        report_error(reporter, kernels->module, node->loc,
                     "the C backend computes %s in f32 or i32 only, and this one has %s; build for another target",
                     op_info(node->op)->name, type_format(kernels->arena, type));
        return false;
    }
    return true;
}

/* Whether the operands are where passes/layout.c leaves them. */
static bool is_laid_out(const Node *node) {
    bool reads_any = op_reads_affine(node->op);
    for (int i = 0; i < node->n_operands; i++) {
        View view;
        if (!view_of(node->operands[i], &view))
            return false;
        if (!reads_any && (!kernel_operand_is_argument(node, i) || !view_is_dense(&view, &node->operands[i]->type)))
            return false;
    }
    return true;
}

bool kernels_add(Kernels *kernels, const Node *node, Reporter *reporter, uint32_t *index) {
    assert(op_info(node->op)->class != OP_CLASS_LEAF && op_info(node->op)->class != OP_CLASS_VIEW);
    assert(is_laid_out(node));
    if (!check_dtypes(kernels, node, reporter))
        return false;
    const char *body = body_text(kernels->arena, node);
    size_t found;
    if (names_find(&kernels->bodies, body, &found)) {
        *index = (uint32_t)found;
        return true;
    }
    Kernel kernel = {
        .name = arena_printf(kernels->arena, "%s_%zu", op_info(node->op)->name, kernels->n_of[node->op]++),
        .flops = node_flops(node),
        .bytes = node_bytes(node),
    };
    kernel.text = kernel_text(kernels, &kernel, heading_text(kernels, node, &kernel), body);
    names_add(&kernels->bodies, body, kernels->n);
    *index = (uint32_t)kernels->n;
    arena_push(kernels->arena, kernels->items, kernels->n, kernels->capacity, kernel);
    return true;
}
