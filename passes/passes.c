/* The table of passes. */
#include "passes/passes.h"

#include <string.h>

const Pass passes[] = {
    {"upcycle", "experts in place of the named function, and the loss", upcycle_run},
    {"autodiff", "forward and backward of a step", autodiff_run},
    {"optimizer", "AdamW on every weight", optimizer_run},
    {"simplify", "canonical forms, common subexpressions, dead nodes", simplify_run},
    {"layout", "copies where a kernel can't read through a view", layout_run},
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
