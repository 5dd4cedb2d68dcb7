/* The list of a graph's nodes, from an order of its units (passes/dependence.h).

   In: an order that keeps all dependences. Out: the same nodes in it; the nodes of a block are neighbours. Leaves and
   views cost nothing and follow: inputs first, the others before their first user. Never here: choosing an order for
   its memory (passes/schedule.c). */
#ifndef MOEC_PASSES_ORDER_H
#define MOEC_PASSES_ORDER_H

#include "passes/dependence.h"

/* `order` lists each unit once. The graph's values must be numbered as dependence_of left them. */
void graph_order_units(Arena *arena, Graph *graph, const Dependence *units, const uint32_t *order);

/* Makes the nodes of each block neighbours, in an order that keeps all dependences and moves no unit without need:
   false, and nothing is changed, where blocks depend on each other in a circle. */
bool graph_gather_blocks(Graph *graph);

#endif
