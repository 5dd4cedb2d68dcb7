/* Texts of attention's kernels: where a tensor is in memory, and where it has a body. */
#include <ctype.h>
#include <string.h>

#include "codegen/form_c_internal.h"

const char *form_upper_case(CPrinter *c, const char *name) {
    char *text = arena_strdup(c->arena, name);
    for (char *at = text; *at != '\0'; at++)
        *at = (char)toupper((unsigned char)*at);
    return text;
}

/* What stands between the brackets at *at, which moves behind them. */
static void split_given(CPrinter *c, const char **at, const char *given[FORM_MAX_GIVEN]) {
    int depth = 0, n = 0;
    const char *start = *at + 1;
    for (const char *next = *at;; next++) {
        depth += *next == '(' ? 1 : *next == ')' ? -1 : 0;
        if ((*next == ',' && depth == 1) || depth == 0) {
            given[n++] = arena_strndup(c->arena, start, (size_t)(next - start));
            start = next + 2;
        }
        if (depth == 0) {
            *at = next + 1;
            return;
        }
    }
}

static int find_tensor(const Form *form, const char *name, size_t n) {
    int tensor = 0;
    while (tensor < form_attention_n_tensors(form) &&
           (strlen(form_attention_name(tensor)) != n || strncmp(form_attention_name(tensor), name, n) != 0))
        tensor++;
    return tensor;
}

/* "" where the line is left out. */
static const char *filled_line(const FormPrinter *printer, const char *line, FormTensorText *text_of) {
    CPrinter *c = printer->c;
    const char *text = "";
    for (const char *mark; (mark = strchr(line, '$')) != NULL;) {
        const char *given[FORM_MAX_GIVEN] = {NULL}, *end = strchr(mark, '(');
        int tensor = find_tensor(printer->form, mark + 1, (size_t)(end - mark - 1));
        text = arena_printf(c->arena, "%s%.*s", text, (int)(mark - line), line);
        split_given(c, &end, given);
        const char *filling = text_of(printer, tensor, given);
        if (!filling)
            return "";
        text = arena_printf(c->arena, "%s%s", text, filling);
        line = end;
    }
    return arena_printf(c->arena, "%s%s", text, line);
}

void form_print_filled(const FormPrinter *printer, const char *text, FormTensorText *text_of) {
    CPrinter *c = printer->c;
    for (const char *end; *text != '\0'; text = end) {
        end = strchr(text, '\n') + 1;
        bool is_plain_only = *text == '?', is_left_out = false;
        const char *line = text;
        if (is_plain_only || *text == '!') {
            line = strchr(text, ' ') + 1;
            int tensor = find_tensor(printer->form, text + 1, (size_t)(line - text - 2));
            is_left_out = is_plain_only == (printer->form->attention.bodies[tensor] != NULL);
        }
        if (!is_left_out)
            c_text(c, filled_line(printer, arena_strndup(c->arena, line, (size_t)(end - line)), text_of));
    }
}
