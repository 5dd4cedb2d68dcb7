/* Choices of experts, their counts and the sorting of slots: the route of a form. */
#include "codegen/form_route.h"
#include "codegen/lower_block_internal.h"
#include "ir/block.h"

static uint32_t dense_argument(Lowering *at, Value *value, FormAccess access) {
    View view;
    view_of(value, &view); /* dense: ir/space.h */
    return lowering_argument(at, &view, access, type_n_elements(&value->type));
}

/* Nothing where the node is not there, or its result is not wanted. */
static void add_result(Lowering *at, FormRouteResult which, Node *node, int result) {
    if (node && value_has_storage(&node->results[result], at->storage->escapes))
        at->form->route.results[which] = dense_argument(at, &node->results[result], FORM_OUT);
}

void body_add_route_results(BodyLowering *at) {
    Lowering *lowering = at->lowering;
    const Space *space = at->space;
    Form *form = lowering->form;
    form->kind = FORM_KIND_ROUTE;
    add_result(lowering, FORM_ROUTE_VALUES, space->top_k, 0);
    add_result(lowering, FORM_ROUTE_EXPERTS, space->top_k, 1);
    add_result(lowering, FORM_ROUTE_COUNTS, space->histogram, 0);
    add_result(lowering, FORM_ROUTE_OFFSETS, space->route, 0);
    add_result(lowering, FORM_ROUTE_SLOT_OF_ROW, space->route, 1);
    add_result(lowering, FORM_ROUTE_ROW_OF_SLOT, space->route, 2);
    if (space->route)
        form->route.capacity = attrs_int(&space->route->attrs, "capacity", 0);
    form->route.k = space->top_k ? attrs_int(&space->top_k->attrs, "k", 1) : 1;
    if (!space->top_k)
        form->route.given =
            dense_argument(lowering, (space->route ? space->route : space->histogram)->operands[0], FORM_IN);
}

void body_lower_scores(BodyLowering *at) {
    if (at->space->top_k)
        at->body->yield = body_element(at, at->space->top_k->operands[0], ROLE_FULL);
}
