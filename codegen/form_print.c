/* The text of a form: spec/kernels.md, "Text". */
#include "codegen/form_internal.h"
#include "codegen/form_route.h"
#include "ir/text.h"

static const char *const access_words[] = {[FORM_IN] = "in", [FORM_OUT] = "out", [FORM_INOUT] = "inout"};

/* One term of an index, "t*576" or "d"; nothing where the factor is 0. */
static void print_term(FILE *out, const char *name, int64_t factor, bool *is_first) {
    if (factor == 0)
        return;
    fprintf(out, "%s%s", *is_first ? "" : " + ", name);
    if (factor != 1)
        fprintf(out, "*%lld", (long long)factor);
    *is_first = false;
}

/* Whether the offset is left out, and what follows comes first. */
static bool print_offset(FILE *out, int64_t offset) {
    if (offset != 0)
        fprintf(out, "%lld", (long long)offset);
    return offset == 0;
}

static void print_map(FILE *out, const Form *form, const FormBody *body, const FormAccessMap *map) {
    if (map->arg != FORM_NONE)
        fprintf(out, " %s", form->args[map->arg].name);
    fputc('[', out);
    bool is_first = print_offset(out, map->offset);
    if (map->gather != FORM_NONE) {
        char name[16];
        snprintf(name, sizeof name, "%%%u", map->gather);
        print_term(out, name, map->gather_stride, &is_first);
    }
    for (int i = 0; i < body->n_indices; i++)
        print_term(out, body->indices[i].name, map->strides[i], &is_first);
    fputs(is_first ? "0]" : "]", out);
}

static void print_instr(FILE *out, const Form *form, const FormBody *body, const FormInstr *instr) {
    fputs(form_instr_word(instr), out);
    if (instr->op == FORM_CONST) {
        fputc(' ', out);
        text_print_float(out, instr->value);
    }
    if (instr->op == FORM_SUM)
        fprintf(out, " %d", instr->result);
    if (form_instr_has_map(instr))
        print_map(out, form, body, &instr->map);
    if (instr->op == FORM_POSITION && instr->divisor != 1)
        fprintf(out, " / %lld", (long long)instr->divisor);
    if (instr->limit > 0)
        fprintf(out, " below %lld", (long long)instr->limit);
    if (instr->op == FORM_GROUP)
        fprintf(out, " of %lld", (long long)instr->divisor);
    if (form_instr_writes(instr))
        fputs(instr->op == FORM_STORE ? " =" : " +=", out);
    else if (form_instr_has_map(instr) && form_instr_n_operands(instr) > 0)
        fputs(" else", out);
    for (int i = 0; i < form_instr_n_operands(instr); i++)
        fprintf(out, "%s %%%u", i > 0 ? "," : "", form_instr_operand(instr, i));
    fputc('\n', out);
}

static void print_body(FILE *out, const Form *form, const FormBody *body, const char *indent) {
    for (size_t i = 0; i < body->n_instrs; i++) {
        fputs(indent, out);
        if (!form_instr_writes(&body->instrs[i]))
            fprintf(out, "%%%zu = ", i);
        print_instr(out, form, body, &body->instrs[i]);
    }
    if (body->yield != FORM_NONE)
        fprintf(out, "%syield %%%u\n", indent, body->yield);
}

static void print_indices(FILE *out, const FormBody *body, const char *indent) {
    for (int i = 0; i < body->n_indices; i++) {
        const FormIndex *index = &body->indices[i];
        fprintf(out, "%s%s %s %lld\n", indent, index->is_col ? "col" : "row", index->name, (long long)index->extent);
    }
}

/* ---- Products ------------------------------------------------------------------------------------------------- */

static void print_operand(FILE *out, const Form *form, const FormOperand *operand) {
    if (operand->part != NULL) {
        fprintf(out, "  part %s %s {\n", operand->name, operand->k_is_major ? "k_major" : "k_minor");
        print_indices(out, operand->part, "    ");
        print_body(out, form, operand->part, "    ");
        fputs("  }\n", out);
        return;
    }
    fprintf(out, "  operand %s = %s[", operand->name, form->args[operand->arg].name);
    bool is_first = print_offset(out, operand->offset);
    print_term(out, "g", operand->group_stride, &is_first);
    print_term(out, "i", operand->stride, &is_first);
    print_term(out, "k", operand->k_stride, &is_first);
    fputs(is_first ? "0]" : "]", out);
    if (operand->gather != FORM_NONE) {
        fprintf(out, " gather %s", form->args[operand->gather].name);
        if (operand->gather_divisor != 1)
            fprintf(out, " / %lld", (long long)operand->gather_divisor);
    }
    fputs(operand->is_packed ? " packed\n" : "\n", out);
}

static void print_products(FILE *out, const Form *form) {
    if (form->ragged != FORM_DENSE)
        fprintf(out, "  ragged %s groups %lld offsets %s\n", form->ragged == FORM_RAGGED_ROWS ? "rows" : "k",
                (long long)form->n_groups, form->args[form->offsets].name);
    for (int i = 0; i < form->n_operands; i++)
        print_operand(out, form, &form->operands[i]);
    for (int i = 0; i < form->n_products; i++) {
        const FormProduct *product = &form->products[i];
        fprintf(out, "  product %d = %s, %s k %lld\n", product->result, form->operands[product->lhs].name,
                form->operands[product->rhs].name, (long long)product->k);
    }
}

/* ---- Attention ------------------------------------------------------------------------------------------------ */

static void print_attention(FILE *out, const Form *form) {
    const FormAttention *attention = &form->attention;
    fprintf(out, "  shared %lld\n  window %lld\n  scale ", (long long)attention->n_shared,
            (long long)attention->window);
    text_print_float(out, attention->scale);
    fprintf(out, "\n  tile queries %lld keys %lld\n", (long long)attention->tile_queries,
            (long long)attention->tile_keys);
    for (int i = 0; i < form_attention_n_tensors(form); i++) {
        const FormBody *body = attention->bodies[i];
        if (body == NULL) {
            fprintf(out, "  tensor %s =", form_attention_name(i));
            print_map(out, form, &form->body, &attention->maps[i]);
            fputc('\n', out);
            continue;
        }
        fprintf(out, "  %s %s {\n", form_attention_is_result(form, i) ? "body" : "part", form_attention_name(i));
        print_indices(out, body, "    ");
        print_body(out, form, body, "    ");
        fputs("  }\n", out);
    }
}

/* ---- Forms ----------------------------------------------------------------------------------------------------- */

void form_print(FILE *out, const Form *form) {
    fprintf(out, "form %s %s {\n", form->name, form_kind_word(form->kind));
    for (size_t i = 0; i < form->n_args; i++) {
        const FormArg *arg = &form->args[i];
        fprintf(out, "  arg %s %s[%lld] %s%s\n", arg->name, dtype_name(arg->dtype), (long long)arg->n_elements,
                access_words[arg->access], arg->is_in_pieces ? " in_pieces" : "");
    }
    for (size_t i = 0; i < form->n_pieces; i++)
        fprintf(out, "%s%lld%s", i == 0 ? "  pieces " : ", ", (long long)form->pieces[i],
                i + 1 == form->n_pieces ? "\n" : "");
    print_indices(out, &form->body, "  ");
    if (form->kind == FORM_KIND_PRODUCT)
        print_products(out, form);
    if (form_is_attention(form))
        print_attention(out, form);
    print_body(out, form, &form->body, "  ");
    if (form->kind == FORM_KIND_ROUTE)
        form_print_route_lines(out, form);
    fputs("}\n", out);
}
