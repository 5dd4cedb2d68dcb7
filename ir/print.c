/* Modules as text: spec/ir.md, "Text form". What is printed here, ir/read.c reads back to an equal module. */
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "ir/block.h"
#include "ir/text.h"

/* "quoted", with C escapes. */
static void print_string(FILE *out, const char *text) {
    putc('"', out);
    for (; *text != '\0'; text++) {
        unsigned char c = (unsigned char)*text;
        if (c == '"' || c == '\\')
            fprintf(out, "\\%c", c);
        else if (c == '\n')
            fputs("\\n", out);
        else if (c == '\t')
            fputs("\\t", out);
        else if (c < 0x20 || c == 0x7f)
            fprintf(out, "\\x%02x", c);
        else
            putc(c, out);
    }
    putc('"', out);
}

/* The shortest of 15 to 17 digits that reads back to the same double. */
static void format_digits(double value, char *text, size_t size) {
    for (int digits = 15; digits <= 17; digits++) {
        snprintf(text, size, "%.*g", digits, value);
        if (strtod(text, NULL) == value)
            return;
    }
}

void text_print_float(FILE *out, double value) {
    if (isnan(value)) {
        fputs("nan", out);
        return;
    }
    if (isinf(value)) {
        fputs(value > 0 ? "inf" : "-inf", out);
        return;
    }
    char text[40];
    format_digits(value, text, sizeof text);
    fputs(text, out);
    if (strpbrk(text, ".e") == NULL)
        fputs(".0", out);
}

bool text_is_name(const char *text) {
    if (*text == '\0' || (*text >= '0' && *text <= '9'))
        return false;
    return text[strspn(text, TEXT_NAME_CHARACTERS)] == '\0';
}

void text_print_attr_value(FILE *out, const Attr *attr, void (*string_printer)(FILE *, const char *),
                           void (*float_printer)(FILE *, double)) {
    switch (attr->kind) {
    case ATTR_INT:
        fprintf(out, "%" PRId64, attr->as.i);
        break;
    case ATTR_FLOAT:
        float_printer(out, attr->as.f);
        break;
    case ATTR_BOOL:
        fputs(attr->as.b ? "true" : "false", out);
        break;
    case ATTR_STRING:
        string_printer(out, attr->as.s);
        break;
    case ATTR_INTS:
        putc('[', out);
        for (int i = 0; i < attr->as.ints.n; i++)
            fprintf(out, "%s%" PRId64, i > 0 ? ", " : "", attr->as.ints.items[i]);
        putc(']', out);
        break;
    }
}

static void print_loc(FILE *out, Loc loc) {
    if (loc.line > 0)
        fprintf(out, " @%u:%u:%u", loc.file, loc.line, loc.column);
}

/* " {key = value, ...}", or nothing. */
static void print_attrs(FILE *out, const Attrs *attrs) {
    if (attrs->n == 0)
        return;
    for (size_t i = 0; i < attrs->n; i++) {
        fputs(i == 0 ? " {" : ", ", out);
        if (text_is_name(attrs->items[i].key))
            fputs(attrs->items[i].key, out);
        else
            print_string(out, attrs->items[i].key);
        fputs(" = ", out);
        text_print_attr_value(out, &attrs->items[i], print_string, text_print_float);
        print_loc(out, attrs->items[i].loc);
    }
    putc('}', out);
}

static void print_type(FILE *out, const Type *type) {
    fprintf(out, "%s[", dtype_name(type->dtype));
    for (int i = 0; i < type->rank; i++) {
        const Dim *dim = &type->dims[i];
        fprintf(out, "%s%s", i > 0 ? ", " : "", dim->is_ragged ? "~" : "");
        if (dim->name != NULL)
            fprintf(out, "%s=", dim->name);
        fprintf(out, "%" PRId64, dim->extent);
    }
    putc(']', out);
}

void text_print_value(FILE *out, const Value *value) {
    if (value->hint != NULL)
        fprintf(out, "%%%s.%u", value->hint, value->number);
    else
        fprintf(out, "%%%u", value->number);
}

static void print_node(FILE *out, const Node *node, const char *indent) {
    fputs(indent, out);
    for (int i = 0; i < node->n_results; i++) {
        fputs(i > 0 ? ", " : "", out);
        text_print_value(out, &node->results[i]);
    }
    fprintf(out, " = %s", op_info(node->op)->name);
    for (int i = 0; i < node->n_operands; i++) {
        fputs(i > 0 ? ", " : " ", out);
        text_print_value(out, node->operands[i]);
    }
    print_attrs(out, &node->attrs);
    for (int i = 0; i < node->n_results; i++) {
        fputs(i > 0 ? ", " : " : ", out);
        print_type(out, &node->results[i].type);
    }
    print_loc(out, node->loc);
    if (node->scope > 0)
        fprintf(out, " in %u", node->scope);
    putc('\n', out);
}

/* What a pass has said of a graph or a kernel, and the brace that opens it. */
static void print_opening(FILE *out, const Attrs *attrs) {
    if (attrs->n > 0) {
        fputs(" attrs", out);
        print_attrs(out, attrs);
    }
    fputs(" {\n", out);
}

static void print_nodes(FILE *out, const Graph *graph) {
    const Block *open = NULL;
    for (const Node *node = graph->first; node != NULL; node = node->next) {
        if (node->block != NULL && node->block != open) {
            fputs("  kernel", out);
            print_opening(out, &node->block->attrs);
            open = node->block;
        }
        print_node(out, node, open != NULL ? "    " : "  ");
        if (node->block != NULL && block_ends_at(node)) {
            fputs("  }\n", out);
            open = NULL;
        }
    }
}

static void print_graph(FILE *out, const Graph *graph) {
    graph_number(graph);
    fprintf(out, "\ngraph %s", graph->name);
    print_opening(out, &graph->attrs);
    print_nodes(out, graph);
    for (size_t i = 0; i < graph->n_outputs; i++) {
        fputs("  output ", out);
        print_string(out, graph->outputs[i].name);
        fputs(" = ", out);
        text_print_value(out, graph->outputs[i].value);
        putc('\n', out);
    }
    fputs("}\n", out);
}

static void print_scopes(FILE *out, const Module *module) {
    for (size_t i = 0; i < module->n_scopes; i++) {
        const Scope *scope = &module->scopes[i];
        fprintf(out, "scope %zu ", i);
        print_string(out, scope->function);
        fputs(" path ", out);
        print_string(out, scope->path);
        fprintf(out, " ordinal %u parent %u", scope->ordinal, scope->parent);
        print_loc(out, scope->loc);
        putc('\n', out);
    }
}

static void print_directives(FILE *out, const Module *module) {
    for (size_t i = 0; i < module->n_directives; i++) {
        const Directive *directive = &module->directives[i];
        fprintf(out, "directive %s ", directive->kind);
        print_string(out, directive->name);
        print_attrs(out, &directive->attrs);
        print_loc(out, directive->loc);
        putc('\n', out);
    }
}

static void print_states(FILE *out, const Module *module) {
    for (size_t i = 0; i < module->n_states; i++) {
        const State *state = module->states[i];
        fputs("state ", out);
        print_string(out, state->name);
        fprintf(out, " %s : ", state->kind);
        print_type(out, &state->type);
        print_attrs(out, &state->attrs);
        print_loc(out, state->loc);
        putc('\n', out);
    }
}

/* A blank line before a part that is there. */
static void print_part(FILE *out, const Module *module, size_t n, void (*print)(FILE *, const Module *)) {
    if (n == 0)
        return;
    putc('\n', out);
    print(out, module);
}

static void print_files(FILE *out, const Module *module) {
    for (size_t i = 0; i < module->n_files; i++) {
        fprintf(out, "file %zu ", i);
        print_string(out, module->files[i]);
        putc('\n', out);
    }
}

void module_print(FILE *out, const Module *module) {
    fprintf(out, "module %s\n", module->name);
    print_part(out, module, module->n_files, print_files);
    print_part(out, module, module->n_scopes, print_scopes);
    print_part(out, module, module->n_directives, print_directives);
    print_part(out, module, module->n_states, print_states);
    for (size_t i = 0; i < module->n_graphs; i++)
        print_graph(out, module->graphs[i]);
}
