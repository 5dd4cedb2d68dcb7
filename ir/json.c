/* Modules as JSON (RFC 8259), for scripts: the same content as the text form. NaN and infinities are strings. */
#include <inttypes.h>
#include <math.h>
#include <string.h>

#include "ir/block.h"
#include "ir/text.h"

/* The length in bytes of the UTF-8 character at `text`, or 0: none stands there (RFC 3629). */
static int utf8_length(const unsigned char *text) {
    static const uint32_t least[] = {0, 0, 0x80, 0x800, 0x10000}; /* that needs so many bytes */
    unsigned char c = text[0];
    int length = c < 0x80 ? 1 : c < 0xc0 ? 0 : c < 0xe0 ? 2 : c < 0xf0 ? 3 : c < 0xf8 ? 4 : 0;
    uint32_t code = length > 1 ? c & (0x7fu >> length) : c;
    for (int i = 1; i < length; i++) {
        if ((text[i] & 0xc0) != 0x80)
            return 0;
        code = code << 6 | (text[i] & 0x3fu);
    }
    bool is_surrogate = code >= 0xd800 && code <= 0xdfff;
    return code >= least[length] && code <= 0x10ffff && !is_surrogate ? length : 0;
}

/* Strings of the IR are bytes: those that are no UTF-8 appear as the characters of Latin-1. */
static void print_string(FILE *out, const char *text) {
    putc('"', out);
    while (*text != '\0') {
        unsigned char c = (unsigned char)*text;
        int length = utf8_length((const unsigned char *)text);
        if (c == '"' || c == '\\')
            fprintf(out, "\\%c", c);
        else if (c < 0x20 || length == 0)
            fprintf(out, "\\u%04x", c);
        else
            fprintf(out, "%.*s", length, text);
        text += length > 0 ? length : 1;
    }
    putc('"', out);
}

static void print_value_name(FILE *out, const Value *value) {
    putc('"', out);
    text_print_value(out, value);
    putc('"', out);
}

static void print_float(FILE *out, double value) {
    const char *quote = isfinite(value) ? "" : "\"";
    fputs(quote, out);
    text_print_float(out, value);
    fputs(quote, out);
}

static void print_attrs(FILE *out, const Attrs *attrs) {
    fputs(", \"attrs\": {", out);
    for (size_t i = 0; i < attrs->n; i++) {
        fputs(i > 0 ? ", " : "", out);
        print_string(out, attrs->items[i].key);
        fputs(": ", out);
        text_print_attr_value(out, &attrs->items[i], print_string, print_float);
    }
    putc('}', out);
}

static void print_loc(FILE *out, const Module *module, Loc loc) {
    if (loc.line == 0)
        return;
    fputs(", \"file\": ", out);
    print_string(out, module->files[loc.file]);
    fprintf(out, ", \"line\": %u, \"column\": %u", loc.line, loc.column);
}

static void print_type(FILE *out, const Type *type) {
    fprintf(out, "{\"dtype\": \"%s\", \"dims\": [", dtype_name(type->dtype));
    for (int i = 0; i < type->rank; i++) {
        const Dim *dim = &type->dims[i];
        fprintf(out, "%s{\"extent\": %" PRId64, i > 0 ? ", " : "", dim->extent);
        if (dim->name != NULL) {
            fputs(", \"name\": ", out);
            print_string(out, dim->name);
        }
        fputs(dim->is_ragged ? ", \"ragged\": true}" : "}", out);
    }
    fputs("]}", out);
}

static void print_node(FILE *out, const Module *module, const Node *node) {
    fprintf(out, "{\"op\": \"%s\", \"results\": [", op_info(node->op)->name);
    for (int i = 0; i < node->n_results; i++) {
        fprintf(out, "%s{\"value\": ", i > 0 ? ", " : "");
        print_value_name(out, &node->results[i]);
        fputs(", \"type\": ", out);
        print_type(out, &node->results[i].type);
        putc('}', out);
    }
    fputs("], \"operands\": [", out);
    for (int i = 0; i < node->n_operands; i++) {
        fputs(i > 0 ? ", " : "", out);
        print_value_name(out, node->operands[i]);
    }
    putc(']', out);
    print_attrs(out, &node->attrs);
    print_loc(out, module, node->loc);
    if (node->scope > 0)
        fprintf(out, ", \"scope\": %u", node->scope);
    if (node->block != NULL)
        fprintf(out, ", \"kernel\": %u", node->block->number);
    fprintf(out, ", \"flops\": %.0f, \"bytes\": %.0f}", node_flops(node), node_bytes(node));
}

/* In the order of their numbers. */
static void print_blocks(FILE *out, const Graph *graph) {
    bool has_blocks = false;
    for (const Node *node = graph->first; node != NULL; node = node->next) {
        if (node->block == NULL || !block_ends_at(node))
            continue;
        fprintf(out, "%s{\"number\": %u", has_blocks ? ", " : ", \"kernels\": [", node->block->number);
        print_attrs(out, &node->block->attrs);
        putc('}', out);
        has_blocks = true;
    }
    fputs(has_blocks ? "]" : "", out);
}

static void print_graph(FILE *out, const Graph *graph) {
    graph_number(graph);
    fprintf(out, "{\"name\": \"%s\"", graph->name);
    print_attrs(out, &graph->attrs);
    fputs(", \"nodes\": [", out);
    for (const Node *node = graph->first; node != NULL; node = node->next) {
        fputs(node == graph->first ? "\n      " : ",\n      ", out);
        print_node(out, graph->module, node);
    }
    fputs("\n    ]", out);
    print_blocks(out, graph);
    fputs(", \"outputs\": {", out);
    for (size_t i = 0; i < graph->n_outputs; i++) {
        fputs(i > 0 ? ", " : "", out);
        print_string(out, graph->outputs[i].name);
        fputs(": ", out);
        print_value_name(out, graph->outputs[i].value);
    }
    fputs("}}", out);
}

static void print_scope(FILE *out, const Module *module, size_t i) {
    const Scope *scope = &module->scopes[i];
    fputs("{\"function\": ", out);
    print_string(out, scope->function);
    fputs(", \"path\": ", out);
    print_string(out, scope->path);
    fprintf(out, ", \"ordinal\": %u, \"parent\": %u", scope->ordinal, scope->parent);
    print_loc(out, module, scope->loc);
    putc('}', out);
}

static void print_directive(FILE *out, const Module *module, size_t i) {
    const Directive *directive = &module->directives[i];
    fprintf(out, "{\"kind\": \"%s\", \"name\": ", directive->kind);
    print_string(out, directive->name);
    print_attrs(out, &directive->attrs);
    print_loc(out, module, directive->loc);
    putc('}', out);
}

static void print_state(FILE *out, const Module *module, size_t i) {
    const State *state = module->states[i];
    fputs("{\"name\": ", out);
    print_string(out, state->name);
    fprintf(out, ", \"kind\": \"%s\", \"type\": ", state->kind);
    print_type(out, &state->type);
    print_attrs(out, &state->attrs);
    print_loc(out, module, state->loc);
    putc('}', out);
}

static void print_graph_at(FILE *out, const Module *module, size_t i) {
    print_graph(out, module->graphs[i]);
}

static void print_list(FILE *out, const Module *module, const char *name, size_t n,
                       void (*print)(FILE *, const Module *, size_t)) {
    fprintf(out, ",\n  \"%s\": [", name);
    for (size_t i = 0; i < n; i++) {
        fputs(i > 0 ? ",\n    " : "\n    ", out);
        print(out, module, i);
    }
    fputs(n > 0 ? "\n  ]" : "]", out);
}

void module_print_json(FILE *out, const Module *module) {
    fprintf(out, "{\n  \"module\": \"%s\"", module->name);
    print_list(out, module, "scopes", module->n_scopes, print_scope);
    print_list(out, module, "directives", module->n_directives, print_directive);
    print_list(out, module, "states", module->n_states, print_state);
    print_list(out, module, "graphs", module->n_graphs, print_graph_at);
    fputs("\n}\n", out);
}
