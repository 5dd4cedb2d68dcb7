/* The reference interpreter: what each op means, in double precision, one plain loop nest an op. Slow on purpose. */
#ifndef MOEC_IR_INTERPRET_H
#define MOEC_IR_INTERPRET_H

#include "ir/ir.h"

/* A dense row-major tensor of doubles; i32 values are exact in it. */
typedef struct {
    Type type;
    double *data;
} Tensor;

Tensor tensor_new(Arena *arena, const Type *type); /* zeros */

typedef struct Interpreter Interpreter;

Interpreter *interpreter_new(Arena *arena, const Module *module);
/* Binds a state by its name, or an input by its name. The data is copied. A state's type must be the module's (assert);
   an input's is compared with the graph's when it runs. States keep what graphs write into them between runs; unbound
   states start as zeros. The tensors returned are the storage itself: writing there binds too. NULL: no such state, or
   an input that was never bound. */
void interpreter_set_state(Interpreter *interpreter, const char *name, Tensor value);
Tensor *interpreter_state(Interpreter *interpreter, const char *name);
void interpreter_set_input(Interpreter *interpreter, const char *name, Tensor value);
Tensor *interpreter_input(Interpreter *interpreter, const char *name);
/* Runs one graph. NULL, or the reason it can't (an unbound input, an index out of range), on the arena. */
const char *interpreter_run(Interpreter *interpreter, const Graph *graph);
/* A value of the last run, an output by name or any value of its graph; valid until the next. NULL: no such output, or
   the run did not get that far. Running numbers the graph's values. */
Tensor *interpreter_output(Interpreter *interpreter, const char *name);
Tensor *interpreter_value(Interpreter *interpreter, const Value *value);

/* For the ops' own functions: operand and result storage of the node being evaluated, and how to fail. */
Tensor *interpreter_operand(Interpreter *interpreter, const Node *node, int operand);
Tensor *interpreter_result(Interpreter *interpreter, const Node *node, int result);
void interpreter_fail(Interpreter *interpreter, const Node *node, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

#endif
