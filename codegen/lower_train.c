/* The loss, and what writes training state in place. */
#include "codegen/lower.h"

/* ---- Loss ----------------------------------------------------------------------------------------------------- */

static void open_logits(CPrinter *c, const Node *node) {
    const Type *logits = lower_operand_type(node, 0);
    int64_t n_classes = type_extent(logits, -1), n_elements = type_n_elements(logits);
    c_constants(c, (const CConstant[]){{"n_rows", n_elements / n_classes}, {"n_classes", n_classes}, {NULL, 0}});
    c_parallel(c, 4.0 * (double)n_elements, "");
    c_open(c, "for (int64_t row = 0; row < n_rows; row++)");
    c_line(c, "int64_t target = targets[row];");
    c_line(c, "const float *x = logits + row * n_classes;");
}

/* A negative target has no loss; one that is no class makes it NaN. */
void lower_cross_entropy(CPrinter *c, const Node *node) {
    c_pointers(c, node, (const char *const[]){"nll", "logsumexp", "logits", "targets"});
    open_logits(c, node);
    c_text(c, "logsumexp[row] = moec_logsumexp(x, n_classes);\n"
              "nll[row] = target < 0 ? 0.0f : target >= n_classes ? NAN : logsumexp[row] - x[target];\n");
    c_close(c);
}

void lower_cross_entropy_grad(CPrinter *c, const Node *node) {
    c_pointers(c, node, (const char *const[]){"out", "logits", "targets", "logsumexp", "dnll"});
    open_logits(c, node);
    c_text(c, "float *dx = out + row * n_classes;\n"
              "if (target < 0) {\n"
              "    memset(dx, 0, sizeof(float) * n_classes);\n"
              "    continue;\n"
              "}\n"
              "float factor = target < n_classes ? dnll[row] : NAN, shift = logsumexp[row];\n"
              "#pragma omp simd\n"
              "for (int64_t i = 0; i < n_classes; i++)\n"
              "    dx[i] = factor * moec_exp(x[i] - shift);\n"
              "if (target < n_classes)\n"
              "    dx[target] -= factor;\n");
    c_close(c);
}

/* ---- Updates -------------------------------------------------------------------------------------------------- */

static void print_element_loop(CPrinter *c, double work, const char *body) {
    c_line(c, c_is_parallel(work) ? "#pragma omp parallel for simd" : "#pragma omp simd");
    c_open(c, "for (int64_t i = 0; i < n_elements; i++)");
    c_text(c, body);
    c_close(c);
}

/* One pass over the four states: spec/numerics.md, "Optimizer". */
void lower_adamw(CPrinter *c, const Node *node) {
    int64_t n_elements = type_n_elements(lower_operand_type(node, 0));
    c_pointers(c, node, (const char *const[]){"w", "g", "m", "v", NULL, NULL, NULL, NULL, "hyper", "scale"});
    c_constants(c, (const CConstant[]){{"n_elements", n_elements}, {NULL, 0}});
    c_text(c, "const float lr = hyper[0], beta1 = hyper[1], beta2 = hyper[2], epsilon = hyper[3];\n"
              "const float correction1 = 1.0f / hyper[5], correction2 = 1.0f / hyper[6], factor = scale[0];\n");
    c_line(c, "const float decay = %s;", attrs_bool(&node->attrs, "decay", false) ? "hyper[4]" : "0.0f");
    print_element_loop(c, node_flops(node),
                       "float gradient = g[i] * factor;\n"
                       "float mean = beta1 * m[i] + (1.0f - beta1) * gradient;\n"
                       "float square = beta2 * v[i] + (1.0f - beta2) * gradient * gradient;\n"
                       "float direction = mean * correction1 / (sqrtf(square * correction2) + epsilon);\n"
                       "w[i] -= lr * (direction + decay * w[i]);\n"
                       "m[i] = mean;\n"
                       "v[i] = square;\n"
                       "g[i] = 0.0f;\n");
}
