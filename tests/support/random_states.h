/* Random programs about states: reads, views and updates of a few of them in any order, with temporaries of all sizes
   in between that make an order of nodes good or bad. For passes that move nodes or reads. */
#ifndef MOEC_TESTS_SUPPORT_RANDOM_STATES_H
#define MOEC_TESTS_SUPPORT_RANDOM_STATES_H

#include "ir/ir.h"

/* One graph "main" on states f32[4, 6], made for `seed`; verified. Its outputs, states and views of states among them,
   tell apart almost any two orders of reads and writes of one state. random_program_bind fills it. */
Module *random_state_program(Arena *arena, uint64_t seed, int n_steps);

#endif
