#include "codegen/kernels.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "codegen/form_c.h"
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

/* Nodes of a kernel, and operands of a node, that are named above it. */
enum { MAX_SHOWN = 64 };

/* %x.12 = add f32[4], f32[4] : f32[4] */
static void print_node(FILE *out, Arena *arena, const Node *node) {
    for (int i = 0; i < node->n_results; i++) {
        fputs(i > 0 ? ", " : "", out);
        text_print_value(out, &node->results[i]);
    }
    fprintf(out, " = %s", op_info(node->op)->name);
    int n_shown = node->n_operands > MAX_SHOWN ? MAX_SHOWN : node->n_operands;
    for (int i = 0; i < n_shown; i++)
        fprintf(out, "%s %s", i > 0 ? "," : "", type_format(arena, &node->operands[i]->type));
    if (n_shown < node->n_operands)
        fprintf(out, ", and %d more", node->n_operands - n_shown);
    for (int i = 0; i < node->n_results; i++)
        fprintf(out, "%s %s", i > 0 ? "," : " :", type_format(arena, &node->results[i].type));
}

/* What stands above a kernel: the nodes that it was first made for. */
static char *heading_text(const Kernels *kernels, Node *const *nodes, size_t n, const Kernel *kernel) {
    TextStream stream;
    text_open(&stream);
    for (size_t i = 0; i < n && i < MAX_SHOWN; i++) {
        fputs(i > 0 ? "\n   " : "", stream.out);
        print_node(stream.out, kernels->arena, nodes[i]);
    }
    if (n > MAX_SHOWN)
        fprintf(stream.out, "\n   and %zu more", n - MAX_SHOWN);
    fputs("\n   ", stream.out);
    const Module *module = kernels->module;
    const Node *node = nodes[0];
    if (node->loc.line != 0 && node->loc.file < module->n_files)
        fprintf(stream.out, "%s:%u:%u   ", module->files[node->loc.file], node->loc.line, node->loc.column);
    fprintf(stream.out, "FLOPs %.3g   bytes %.3g", kernel->flops, kernel->bytes);
    return text_close(&stream, kernels->arena);
}

static char *function_text(const Kernels *kernels, const Kernel *kernel, const char *heading, const char *body) {
    TextStream stream;
    text_open(&stream);
    c_comment(&(CPrinter){.out = stream.out}, heading);
    fprintf(stream.out, "static void %s(void *const *args) {\n%s}\n", kernel->name, body);
    return text_close(&stream, kernels->arena);
}

/* ---- Nodes that have a kernel of their own ---------------------------------------------------------------------- */

/* Of bf16, products and sums of rows, what moves elements, and what makes it or makes f32 of it. */
static bool has_kernel_dtype(const Node *node, const Type *type) {
    OpClass class = op_info(node->op)->class;
    bool takes_bf16 = class == OP_CLASS_CONTRACT || class == OP_CLASS_SPECIAL || node->op == OP_copy ||
                      node->op == OP_to_bf16 || node->op == OP_to_f32;
    return type->dtype == DTYPE_F32 || type->dtype == DTYPE_I32 || (type->dtype == DTYPE_BF16 && takes_bf16);
}

/* False after an error. */
static bool check_dtypes(const Kernels *kernels, const Node *node, Reporter *reporter) {
    for (int i = 0; i < node->n_operands + node->n_results; i++) {
        const Type *type = i < node->n_operands ? &node->operands[i]->type : &node->results[i - node->n_operands].type;
        if (has_kernel_dtype(node, type))
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
    for (int i = 0; i < node->n_operands; i++) {
        View view;
        if (!view_of(node->operands[i], &view))
            return false;
        if (op_reads_affine(node->op))
            continue;
        const Type *type = &node->operands[i]->type;
        bool fits = op_reads_vectors(node->op) ? view_has_vectors(&view, type) : view_is_dense(&view, type);
        if (!fits || !kernel_operand_is_argument(node, i))
            return false;
    }
    return true;
}

/* ---- The table ------------------------------------------------------------------------------------------------- */

/* Whether there is a kernel with the key; if not, it is to be added as the next. */
static bool find_kernel(Kernels *kernels, const char *key, uint32_t *index) {
    size_t found = kernels->n;
    bool is_there = names_find(&kernels->bodies, key, &found);
    if (!is_there)
        names_add(&kernels->bodies, key, found);
    *index = (uint32_t)found;
    return is_there;
}

static void push(Kernels *kernels, Kernel kernel) {
    arena_push(kernels->arena, kernels->items, kernels->n, kernels->capacity, kernel);
}

static const char *next_name(Kernels *kernels, OpKind op) {
    return arena_printf(kernels->arena, "%s_%zu", op_info(op)->name, kernels->n_of[op]++);
}

static bool names_kernel(OpKind op) {
    return op_info(op)->class == OP_CLASS_REDUCE || op == OP_cross_entropy || op == OP_cross_entropy_grad;
}

/* What the kernel is called after: its product, its one op, or the last of its sums and losses. */
static OpKind main_op(const Space *space) {
    if (space->kind == SPACE_ATTENTION)
        return space->attention->op;
    if (space->kind == SPACE_ROUTE)
        return space->route ? OP_route : space->top_k ? OP_top_k : OP_histogram;
    OpKind op = space->nodes[space->n_nodes - 1]->op;
    for (size_t i = 0; i < space->n_nodes && space->kind == SPACE_ROWS; i++)
        op = names_kernel(space->nodes[i]->op) ? space->nodes[i]->op : op;
    return space->kind == SPACE_PRODUCT ? space->products[0].node->op : op;
}

/* Each argument counts once, whatever part of it is read how often; what is added to, twice. */
static double form_bytes(const Form *form) {
    double bytes = 0;
    for (size_t i = 0; i < form->n_args; i++)
        bytes += (double)form->args[i].n_elements * (double)dtype_size(form->args[i].dtype) *
                 (form->args[i].access == FORM_INOUT ? 2 : 1);
    return bytes;
}

static char *form_text(Arena *arena, const Form *form) {
    TextStream stream;
    text_open(&stream);
    form_print(stream.out, form);
    return text_close(&stream, arena);
}

/* As C. */
static char *printed_form(Arena *arena, const Form *form, const char *heading) {
    TextStream stream;
    text_open(&stream);
    form_print_c(stream.out, arena, form, heading);
    return text_close(&stream, arena);
}

static void add_block(Kernels *kernels, const Space *space, Node *const *nodes, size_t n, const LoweredStorage *storage,
                      KernelCall *call) {
    LoweredBlock lowered = lower_block(kernels->arena, space, storage, "kernel", false);
    call->args = lowered.arguments;
    call->n_args = lowered.n_arguments;
    const char *key = form_text(kernels->arena, lowered.form);
    if (find_kernel(kernels, key, &call->kernel))
        return;
    Kernel kernel = {.name = next_name(kernels, main_op(space)), .key = key, .bytes = form_bytes(lowered.form)};
    for (size_t i = 0; i < n; i++)
        kernel.flops += node_flops(nodes[i]);
    kernel.form = lower_block(kernels->arena, space, storage, kernel.name, true).form;
    kernel.heading = heading_text(kernels, nodes, n, &kernel);
    kernel.text = printed_form(kernels->arena, kernel.form, kernel.heading);
    push(kernels, kernel);
}

/* What the node's kernel is: a form, or, of one that has none, the C between its braces. */
static const char *lower_node(Arena *arena, Node *node, const char *name, LoweredBlock *lowered) {
    TextStream stream;
    text_open(&stream);
    CPrinter text = {.arena = arena, .out = stream.out, .depth = 1};
    *lowered = (LoweredBlock){.form = form_new(arena, name)};
    NodeLowering at = {.arena = arena, .node = node, .lowered = lowered, .text = &text};
    lower_functions[node->op](&at);
    const char *body = text_close(&stream, arena);
    return at.has_text ? body : NULL;
}

static void add_node(Kernels *kernels, Node *node, KernelCall *call) {
    Arena *arena = kernels->arena;
    LoweredBlock lowered;
    assert(op_info(node->op)->class != OP_CLASS_LEAF && op_info(node->op)->class != OP_CLASS_VIEW);
    assert(is_laid_out(node));
    const char *body = lower_node(arena, node, "kernel", &lowered);
    call->args = lowered.arguments;
    call->n_args = lowered.n_arguments;
    const char *key = body ? body : form_text(arena, lowered.form);
    if (find_kernel(kernels, key, &call->kernel))
        return;
    Kernel kernel = {
        .name = next_name(kernels, node->op), .key = key, .flops = node_flops(node), .bytes = node_bytes(node)};
    kernel.heading = heading_text(kernels, &node, 1, &kernel);
    if (body) {
        kernel.text = function_text(kernels, &kernel, kernel.heading, body);
    } else {
        lower_node(arena, node, kernel.name, &lowered);
        kernel.form = lowered.form;
        kernel.text = printed_form(arena, kernel.form, kernel.heading);
    }
    push(kernels, kernel);
}

bool kernels_add(Kernels *kernels, Node *const *nodes, size_t n, const LoweredStorage *storage, Reporter *reporter,
                 KernelCall *call) {
    const char *reason;
    *call = (KernelCall){0};
    for (size_t i = 0; i < n; i++) {
        if (!check_dtypes(kernels, nodes[i], reporter))
            return false;
    }
    Space *space = space_of(kernels->arena, nodes, n, &reason);
    assert((space || n == 1) && "fuse makes no block that has no space");
    if (space)
        add_block(kernels, space, nodes, n, storage, call);
    else
        add_node(kernels, nodes[0], call);
    return true;
}
