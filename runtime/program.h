/* Running a program of the plan: its kernels in the order of their launches. */
#ifndef MOEC_RUNTIME_PROGRAM_H
#define MOEC_RUNTIME_PROGRAM_H

#include "runtime/memory.h"
#include "runtime/profile.h"

/* A program with all its addresses made pointers. */
typedef struct {
    const MoecPlan *plan;
    const MoecProgram *program; /* NULL: not opened */
    const Memory *memory;
    void **args;      /* of all launches */
    Profile *profile; /* that launches are noted in; NULL: none */
} Program;

/* What the program needs of MOEC_SPACE_ARENA; 0 where the plan has no such program. */
uint64_t program_arena_bytes(const MoecPlan *plan, const char *name);

/* Launches of one run of the program; 0 where the plan has none. */
size_t program_launches(const MoecPlan *plan, const char *name);

/* `memory` must have every space that the program uses, and outlive it. A plan without such a program is a fault of the
   compiler. */
bool program_open(Program *program, const MoecPlan *plan, const char *name, const Memory *memory, Status *status);
void program_close(Program *program);

/* Where the tensor is: NULL where the program has none of this name. Inputs must be set before each run: programs share
   the memory that they stand in. */
void *program_input(const Program *program, const char *name);
const float *program_output(const Program *program, const char *name);
const MoecTensor *program_output_tensor(const Program *program, const char *name);

/* On a GPU it can fail; inputs and outputs are in the host's memory all the same. */
bool program_run(const Program *program, Status *status);

/* The same in two halves. program_give hands a run over, and on a GPU does not wait for it; inputs may be set for the
   next at once. program_take waits for the oldest run that was given and not taken, whose outputs are there then, until
   any other program runs or is taken. program_most_given runs may be given before one is taken: on the CPU, which runs
   what it is given, one, and its outputs must be taken before anything else runs. */
bool program_give(const Program *program, Status *status);
bool program_take(const Program *program, Status *status);
int program_most_given(const Program *program);

int64_t tensor_elements(const MoecTensor *tensor);

#endif
