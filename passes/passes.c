/* The table of passes. */
#include "passes/passes.h"

#include <string.h>

const Pass passes[] = {
    {"upcycle", "experts in place of the named function, and the loss", upcycle_run},
    {"autodiff", "forward and backward of a step", autodiff_run},
    {"optimizer", "AdamW on every weight", optimizer_run},
    {"simplify", "canonical forms, common subexpressions, dead nodes", simplify_run},
    {"products", "factors and sums through matrix products", products_run},
    {"chunk", "large values, such as logits, in chunks of rows", chunk_run},
    {"gradients", "gradients in the arena, written by what adds to them first", gradients_run},
    {"recompute", "cheap values of the forward half again in the backward half", recompute_run},
    {"precision", "bf16 around products and attention", precision_run},
    {"layout", "copies where a kernel can't read through a view", layout_run},
    {"fuse", "nodes that run as one kernel", fuse_run},
    {"schedule", "an order of nodes that needs little memory", schedule_run},
    {"memory", "where each value stands in the arena", memory_run},
    {0},
};

const Pass *pass_find(const char *name) {
    for (const Pass *pass = passes; pass->name; pass++) {
        if (strcmp(pass->name, name) == 0)
            return pass;
    }
    return NULL;
}

bool pass_can_add(const Module *module, Reporter *reporter, const char *pass, const char *const *graphs,
                  const char *const *prefixes) {
    for (; *graphs; graphs++) {
        if (!module_find_graph(module, *graphs))
            continue;
        report_error(reporter, module, (Loc){0}, "there is a graph \"%s\" already, which %s is to add", *graphs, pass);
        return false;
    }
    for (; *prefixes; prefixes++) {
        for (size_t i = 0; i < module->n_states; i++) {
            const State *state = module->states[i];
            if (strncmp(state->name, *prefixes, strlen(*prefixes)) != 0)
                continue;
            report_error(reporter, module, state->loc, "there is a state \"%s\" already; %s is to add what starts so",
                         state->name, pass);
            return false;
        }
    }
    return true;
}
