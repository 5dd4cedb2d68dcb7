/* The two halves of graph "train", and what is saved between them. */
#include <string.h>

#include "ir/names.h"
#include "ir/view.h"
#include "passes/liveness.h"
#include "passes/recompute.h"

/* What has fewer bytes than this share of an average saved value is too small to matter: it would take a launch to
   spare next to nothing. */
enum { TINY_SHARE = 8 };

/* A saved value is worth the trouble if it is idle, from its last reader before the loss to its first behind, for at
   least this share of its life. What every layer reads, as tables of angles, is not. */
enum { IDLE_SHARE = 3 };

static RecomputeItem *owner_item(Value *value) {
    return recompute_item(view_owner(value)->def);
}

static const char *state_name(const Node *node) {
    return attrs_string(&node->attrs, "name", "");
}

static void add_items(Recompute *at) {
    size_t n = 0;
    at->items = arena_array_of(at->arena, RecomputeItem, at->graph->n_nodes);
    for (Node *node = at->graph->first; node; node = node->next, n++) {
        RecomputeItem *item = &at->items[n];
        *item = (RecomputeItem){.node = node, .place = (uint32_t)n, .last_forward = (uint32_t)n};
        item->is_costly = op_info(node->op)->class == OP_CLASS_CONTRACT || node->op == OP_attention;
        item->time = node_time(node);
        at->time += item->time;
        node->scratch = item;
    }
    at->n_items = n;
}

/* ---- The halves ------------------------------------------------------------------------------------------------ */

static void mark_seeded(Recompute *at) {
    at->backward_begin = (uint32_t)at->n_items;
    for (size_t i = 0; i < at->n_items; i++) {
        RecomputeItem *item = &at->items[i];
        const Node *node = item->node;
        item->is_seeded = node->op == OP_input && strcmp(state_name(node), "loss_scale") == 0;
        for (int j = 0; j < node->n_operands; j++)
            item->is_seeded = item->is_seeded || recompute_item(node->operands[j]->def)->is_seeded;
        bool begins = item->is_seeded && op_info(node->op)->class != OP_CLASS_LEAF;
        if (begins && at->backward_begin == at->n_items)
            at->backward_begin = (uint32_t)i;
        if (at->backward_begin == at->n_items)
            at->forward_time += item->time;
    }
}

/* What is needed to compute outputs is not of the half, wherever it stands: a loss in chunks computes the next chunk
   after the gradient of the last. */
static void mark_backward(Recompute *at) {
    for (size_t i = at->backward_begin; i < at->n_items; i++)
        at->items[i].is_backward = true;
    for (size_t i = 0; i < at->graph->n_outputs; i++)
        recompute_item(at->graph->outputs[i].value->def)->is_backward = false;
    for (size_t i = at->n_items; i-- > at->backward_begin;) {
        const Node *node = at->items[i].node;
        for (int j = 0; j < node->n_operands && !at->items[i].is_backward; j++)
            recompute_item(node->operands[j]->def)->is_backward = false;
    }
}

/* ---- Readers --------------------------------------------------------------------------------------------------- */

static void note_read(RecomputeItem *owner, const RecomputeItem *reader) {
    if (!reader->is_backward) {
        owner->last_forward = reader->place;
        return;
    }
    if (!owner->is_saved)
        owner->first_backward = reader->place;
    owner->is_saved = true;
    owner->last_backward = reader->place;
}

/* The bytes of results that the backward half reads are counted once each. */
static void note_reads(Recompute *at) {
    Value **seen = arena_array_of(at->arena, Value *, graph_number(at->graph));
    for (size_t i = 0; i < at->n_items; i++) {
        const RecomputeItem *reader = &at->items[i];
        for (int j = 0; j < reader->node->n_operands && op_info(reader->node->op)->class != OP_CLASS_VIEW; j++) {
            Value *value = view_owner(reader->node->operands[j]);
            note_read(recompute_item(value->def), reader);
            bool is_leaf = op_info(value->def->op)->class == OP_CLASS_LEAF;
            if (!reader->is_backward || is_leaf || seen[value->number])
                continue;
            seen[value->number] = value;
            recompute_item(value->def)->n_saved_bytes += arena_bytes_of(&value->type);
        }
    }
}

/* ---- What is never computed again ------------------------------------------------------------------------------ */

static Names updated_states(const Recompute *at) {
    Names names = {.arena = at->arena};
    for (size_t i = 0; i < at->n_items; i++) {
        const Node *node = at->items[i].node;
        for (int j = 0; j < node->n_results && op_info(node->op)->class == OP_CLASS_UPDATE; j++)
            names_add(&names, state_name(view_owner(node->operands[j])->def), 0);
    }
    return names;
}

static bool reads_any_of(const Node *node, const Names *states) {
    for (int i = 0; i < node->n_operands; i++) {
        const Node *owner = view_owner(node->operands[i])->def;
        size_t index;
        if (owner->op == OP_state && names_find(states, state_name(owner), &index))
            return true;
    }
    return false;
}

/* Whether dropping it would leave nothing out: it is in use when the backward half begins, or hardly ever idle. */
static bool is_busy(const Recompute *at, const RecomputeItem *item) {
    return item->last_forward >= at->backward_begin ||
           IDLE_SHARE * (item->first_backward - item->last_forward) < item->last_backward - item->place;
}

static double result_bytes(const Node *node) {
    double bytes = 0;
    for (int i = 0; i < node->n_results; i++)
        bytes += (double)arena_bytes_of(&node->results[i].type);
    return bytes;
}

static double mean_saved_bytes(const Recompute *at) {
    double bytes = 0, n = 0;
    for (size_t i = 0; i < at->backward_begin; i++) {
        bytes += (double)at->items[i].n_saved_bytes;
        n += at->items[i].n_saved_bytes > 0;
    }
    return n > 0 ? bytes / n : 0;
}

static void find_fixed(Recompute *at) {
    Names updated = updated_states(at);
    double tiny = mean_saved_bytes(at) / TINY_SHARE;
    for (size_t i = 0; i < at->n_items; i++) {
        RecomputeItem *item = &at->items[i];
        OpClass class = op_info(item->node->op)->class;
        bool is_always_there = class == OP_CLASS_LEAF || class == OP_CLASS_UPDATE || i >= at->backward_begin;
        item->is_view = class == OP_CLASS_VIEW;
        item->is_fixed = !item->is_view && (is_always_there || (item->is_saved && is_busy(at, item)) ||
                                            result_bytes(item->node) < tiny || reads_any_of(item->node, &updated));
    }
    for (size_t i = 0; i < at->graph->n_outputs; i++)
        owner_item(at->graph->outputs[i].value)->is_fixed = true;
}

Recompute recompute_survey(Arena *arena, Graph *graph) {
    Recompute at = {.graph = graph, .arena = arena};
    add_items(&at);
    mark_seeded(&at);
    mark_backward(&at);
    note_reads(&at);
    find_fixed(&at);
    return at;
}
