/* The loss, and what writes training state in place. spec/numerics.md, "Losses" and "Optimizer". */
#include "ir/interpret_internal.h"

#include <math.h>

#include "ir/ops_internal.h"

/* ---- Loss ---------------------------------------------------------------------------------------------------- */

/* A negative target marks a position without one: no loss, no gradient. False, after failing, for one past V. */
static bool check_target(Interpreter *interpreter, const Node *node, double target, int64_t n_classes) {
    return target < 0 || interpreter_check_index(interpreter, node, "target", target, n_classes);
}

/* (logits[.., V], targets i32[..]) -> nll[..] = logsumexp(logits) - logits[target], and logsumexp[..]. */
void interpret_cross_entropy(Interpreter *interpreter, const Node *node) {
    const Tensor *logits = interpreter_operand(interpreter, node, 0);
    const Tensor *targets = interpreter_operand(interpreter, node, 1);
    Tensor *nll = interpreter_result(interpreter, node, 0);
    Tensor *logsumexp = interpreter_result(interpreter, node, 1);
    int64_t n_classes = type_extent(&logits->type, -1), n_rows = type_n_elements(&targets->type);
    for (int64_t row = 0; row < n_rows; row++) {
        double target = targets->data[row];
        if (!check_target(interpreter, node, target, n_classes))
            return;
        const double *x = logits->data + row * n_classes;
        logsumexp->data[row] = interpreter_logsumexp(x, n_classes);
        nll->data[row] = target < 0 ? 0 : logsumexp->data[row] - x[(int64_t)target];
    }
}

/* (logits, targets, logsumexp, dnll) -> dlogits = dnll (softmax(logits) - onehot(target)). */
void interpret_cross_entropy_grad(Interpreter *interpreter, const Node *node) {
    const Tensor *logits = interpreter_operand(interpreter, node, 0);
    const Tensor *targets = interpreter_operand(interpreter, node, 1);
    const double *logsumexp = interpreter_operand(interpreter, node, 2)->data;
    const double *dnll = interpreter_operand(interpreter, node, 3)->data;
    Tensor *result = interpreter_result(interpreter, node, 0);
    int64_t n_classes = type_extent(&logits->type, -1), n_rows = type_n_elements(&targets->type);
    for (int64_t row = 0; row < n_rows; row++) {
        double target = targets->data[row];
        if (!check_target(interpreter, node, target, n_classes))
            return;
        const double *x = logits->data + row * n_classes;
        for (int64_t i = 0; target >= 0 && i < n_classes; i++)
            result->data[row * n_classes + i] =
                dnll[row] * (exp(x[i] - logsumexp[row]) - (target == (double)i ? 1 : 0));
    }
}

/* ---- Updates ------------------------------------------------------------------------------------------------- */

/* (state, x): state += x, in the state's own storage; = x where it starts. */
void interpret_accumulate(Interpreter *interpreter, const Node *node) {
    Tensor *state = interpreter_operand(interpreter, node, 0);
    const Tensor *x = interpreter_operand(interpreter, node, 1);
    int64_t n_elements = type_n_elements(&state->type);
    bool starts = attrs_bool(&node->attrs, "starts", false);
    for (int64_t i = 0; i < n_elements; i++)
        state->data[i] = (starts ? 0 : state->data[i]) + x->data[i];
    interpreter_alias_result(interpreter, node, 0, state);
}

/* (w, g, m, v, hyper f32[7], scale f32[]): one AdamW step on w, m and v, with gradient g * scale; g becomes zero unless
   keeps = true. hyper is [lr, beta1, beta2, epsilon, weight decay, 1 - beta1^t, 1 - beta2^t]; the decay applies only
   with decay = true. */
void interpret_adamw(Interpreter *interpreter, const Node *node) {
    Tensor *w = interpreter_operand(interpreter, node, 0);
    Tensor *g = interpreter_operand(interpreter, node, 1);
    Tensor *m = interpreter_operand(interpreter, node, 2);
    Tensor *v = interpreter_operand(interpreter, node, 3);
    const double *hyper = interpreter_operand(interpreter, node, 4)->data;
    double scale = interpreter_operand(interpreter, node, 5)->data[0];
    double lr = hyper[0], beta1 = hyper[1], beta2 = hyper[2], epsilon = hyper[3];
    double decay = attrs_bool(&node->attrs, "decay", false) ? hyper[4] : 0;
    double correction1 = hyper[5], correction2 = hyper[6];
    bool keeps = attrs_bool(&node->attrs, "keeps", false);
    int64_t n_elements = type_n_elements(&w->type);
    for (int64_t i = 0; i < n_elements; i++) {
        double gradient = g->data[i] * scale;
        m->data[i] = beta1 * m->data[i] + (1 - beta1) * gradient;
        v->data[i] = beta2 * v->data[i] + (1 - beta2) * gradient * gradient;
        double direction = m->data[i] / correction1 / (sqrt(v->data[i] / correction2) + epsilon);
        w->data[i] -= lr * (direction + decay * w->data[i]);
        g->data[i] = keeps ? g->data[i] : 0;
    }
    for (int i = 0; i < node->n_results; i++)
        interpreter_alias_result(interpreter, node, i, interpreter_operand(interpreter, node, i));
}
