/* Gradients in the arena. spec/ir.md, "Gradients".

   In: a module whose graph "train" adds to gradients that "update" reads. Out: where no other graph touches them, and a
   step is one micro-batch, whose gradients need not outlive those of the next, the first addition to each has the
   attribute "starts", which writes the state without regard to what was there, "update" keeps them instead of leaving
   them zero, and the module has the directive `gradients "arena"`: they need no storage of their own while forward
   values take so much. Never here: where they stand. */
#include <string.h>

#include "passes/passes.h"

/* What the graphs do with a gradient. */
typedef struct {
    int n_train, n_update, n_other; /* nodes that show it */
    int n_readers;                  /* of those in "train", outputs too */
    Node *first;                    /* the last of the readers if it adds to the gradient; else NULL */
} GradientUse;

static bool is_gradient(const Module *module, const Node *node, size_t *state) {
    return node->op == OP_state && names_find(&module->state_indices, attrs_string(&node->attrs, "name", ""), state) &&
           strcmp(module->states[*state]->kind, "grad") == 0;
}

static void note_node(const Module *module, const Graph *graph, Node *node, GradientUse *uses) {
    bool is_train = strcmp(graph->name, "train") == 0, is_update = strcmp(graph->name, "update") == 0;
    size_t state;
    if (is_gradient(module, node, &state))
        *(is_train ? &uses[state].n_train : is_update ? &uses[state].n_update : &uses[state].n_other) += 1;
    for (int i = 0; i < node->n_operands && is_train; i++) {
        if (!is_gradient(module, node->operands[i]->def, &state))
            continue;
        uses[state].n_readers++;
        uses[state].first = node->op == OP_accumulate && i == 0 ? node : NULL;
    }
}

static void note_uses(const Module *module, const Graph *graph, GradientUse *uses) {
    size_t state;
    for (Node *node = graph->first; node; node = node->next)
        note_node(module, graph, node, uses);
    for (size_t i = 0; i < graph->n_outputs; i++) {
        if (is_gradient(module, graph->outputs[i].value->def, &state))
            uses[state].n_readers++;
    }
}

static bool can_move(const Module *module, const GradientUse *uses) {
    bool has_any = false, can = true;
    for (size_t i = 0; i < module->n_states; i++) {
        const GradientUse *use = &uses[i];
        if (strcmp(module->states[i]->kind, "grad") != 0)
            continue;
        has_any = true;
        can = can && use->n_train == 1 && use->n_update == 1 && use->n_other == 0 && use->n_readers == 1 && use->first;
    }
    return has_any && can;
}

int64_t passes_n_micro_batches(const Module *module) {
    const Directive *train = module_find_directive(module, "train");
    const Graph *graph = module_find_graph(module, "train");
    int64_t n = train ? attrs_int(&train->attrs, "global_batch", 1) : 1;
    for (const Node *node = graph ? graph->first : NULL; node; node = node->next) {
        const Type *type = &node->results[0].type;
        if (node->op == OP_input && type->rank > 0 && strcmp(attrs_string(&node->attrs, "name", ""), "tokens") == 0)
            return n / type_extent(type, 0);
    }
    return n;
}

bool gradients_are_in_arena(const Module *module) {
    return module_find_directive(module, "gradients") != NULL;
}

static bool is_used(const Graph *graph, const Value *value) {
    for (const Node *node = graph->first; node; node = node->next) {
        for (int i = 0; i < node->n_operands; i++) {
            if (node->operands[i] == value)
                return true;
        }
    }
    for (size_t i = 0; i < graph->n_outputs; i++) {
        if (graph->outputs[i].value == value)
            return true;
    }
    return false;
}

/* Nobody reads the zeros: "train" writes the gradients anew. */
static void keep_in_update(Graph *update) {
    size_t state;
    for (Node *node = update ? update->first : NULL; node; node = node->next) {
        if (node->op == OP_adamw && is_gradient(update->module, node->operands[1]->def, &state) &&
            !is_used(update, &node->results[1]))
            attrs_set_bool(update->module->arena, &node->attrs, "keeps", true);
    }
}

bool gradients_run(Module *module, Reporter *reporter) {
    (void)reporter; /* where they can't be moved they stay */
    Arena *arena = arena_new();
    GradientUse *uses = arena_array_of(arena, GradientUse, module->n_states + 1);
    for (size_t i = 0; i < module->n_graphs; i++)
        note_uses(module, module->graphs[i], uses);
    if (!gradients_are_in_arena(module) && passes_n_micro_batches(module) <= 1 && can_move(module, uses)) {
        module_add_directive(module, "gradients", "arena", (Loc){0});
        for (size_t i = 0; i < module->n_states; i++) {
            if (uses[i].first)
                attrs_set_bool(module->arena, &uses[i].first->attrs, "starts", true);
        }
        keep_in_update(module_find_graph(module, "update"));
    }
    arena_free(arena);
    return true;
}
