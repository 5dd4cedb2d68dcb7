/* The passes: module in, module out, one file or a few each. They see ir/ and nothing else; options come as directives
   of the module, so each stage's text says all that the next one needs.

   The order, and what each leaves behind:
     lower     (frontend)  graph "forward": inputs tokens, targets; outputs logits, nll (mean, f32[]). Graph "generate":
                           input tokens of one sequence; output logits
     upcycle               in both, calls of the named function become router + dispatch + experts + combine; more
                           outputs of "forward": balance, z_loss (f32[], coefficients not applied), expert_load
                           f32[layers, E]; "loss" = nll + coefficients * those. Without an upcycle directive "loss" =
                           nll
     autodiff              graph "train": forward, backward, accumulation into "grad:" states; input loss_scale f32[];
                           outputs loss, nll, balance?, z_loss?, expert_load?. Graph "eval" (output nll). "forward" is
                           gone, "generate" as it was
     optimizer             graph "update": inputs hyper f32[7], max_norm f32[]; AdamW on every weight; output grad_norm
     simplify              canonical forms, common subexpressions, dead nodes; every graph
     products              factors of rows and sums along results have passed through matrix products where less is kept
                           so; simple form again. spec/ir.md, "Products"
     chunk                 large values that exist only between nodes that work row by row, such as logits, are made a
                           chunk of rows at a time. spec/ir.md, "Chunks"
     gradients             of steps of one micro-batch, gradients that only "train" and "update" touch have storage in
                           the arena; the first addition to each, which says starts = true, writes it. spec/ir.md,
                           "Gradients"
     recompute             cheap values of the forward half are computed again where the backward half reads them.
                           spec/ir.md, "Recompute"
     precision             with a directive precision "bf16": what products and attention read and make is bf16. Later
                           than all that makes products from others. spec/numerics.md, "Precision"
     layout                after it every operand has an affine map (ir/view.h), a dense one unless the op is a map or
                           a reduce_sum, which read through any: copies where that was not so. Outputs are dense and
                           some kernel's own. spec/ir.md, "Layout"
     fuse                  nodes that run as one kernel in blocks, those of each block neighbours. spec/ir.md, "Fusion"
     schedule              the order of nodes, chosen for low peak memory
     memory                arena offsets: attributes of each graph (below) */
#ifndef MOEC_PASSES_PASSES_H
#define MOEC_PASSES_PASSES_H

#include "ir/ir.h"
#include "ir/report.h"

typedef struct {
    const char *name;
    const char *summary; /* one line for --help */
    /* False after at least one error was reported; the module is then unusable. */
    bool (*run)(Module *module, Reporter *reporter);
} Pass;

/* All passes in pipeline order, ended by a NULL name. */
extern const Pass passes[];
const Pass *pass_find(const char *name);

bool upcycle_run(Module *module, Reporter *reporter);
bool autodiff_run(Module *module, Reporter *reporter);
bool optimizer_run(Module *module, Reporter *reporter);
bool simplify_run(Module *module, Reporter *reporter);
bool products_run(Module *module, Reporter *reporter);
bool chunk_run(Module *module, Reporter *reporter);
bool gradients_run(Module *module, Reporter *reporter);
bool recompute_run(Module *module, Reporter *reporter);
bool precision_run(Module *module, Reporter *reporter);
bool layout_run(Module *module, Reporter *reporter);
bool fuse_run(Module *module, Reporter *reporter);
bool schedule_run(Module *module, Reporter *reporter);
bool memory_run(Module *module, Reporter *reporter);

/* Sequences of an optimizer step, as the directive "train" has it, over those of a run of the graph "train". */
int64_t passes_n_micro_batches(const Module *module);

/* Whether the module's states of kind "grad" have storage in the arena: it has the directive `gradients "arena"`. */
bool gradients_are_in_arena(const Module *module);

/* What the recompute pass leaves in Graph.attrs, where it has found something to compute again:
     recomputed        values of the forward half that the backward half no longer reads
     recomputed_bytes  of these values
     recomputed_flops  of the nodes that compute them again, and what they are made of; in no other figure */

/* Whether the text is a list of kinds of fusion, "rows,epilogue", as the directive fuse takes them. */
bool pass_takes_fuse_list(const char *list);

/* What the memory pass leaves in Graph.attrs, in the text as `graph train attrs {offsets = [..], arena_bytes = N} {`:
     offsets      one int per value number: byte offset in the activation arena (64-byte aligned), or -1 for values that
                  have no storage of their own (states, constants, views, in-place results)
     arena_bytes  size of the arena this graph needs
     lower_bound  largest sum of live bytes at any node, each value rounded up to 64: no plan can need less
   Inputs and outputs have offsets like other values. Inputs are live from the start, outputs to the end; no two values
   that are live at one node overlap, but that a result may have the storage of a value that its kernel reads for the
   last time: spec/ir.md, "Memory". */

/* Whether a pass can add graphs of these names, and states that have these prefixes before a weight's name (lists ended
   by NULL). False after an error: there is one already. */
bool pass_can_add(const Module *module, Reporter *reporter, const char *pass, const char *const *graphs,
                  const char *const *prefixes);

/* Takes the memory plan away: for passes that change or move the nodes of a graph. */
void graph_forget_plan(Graph *graph);

#endif
