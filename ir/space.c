#include "ir/space_internal.h"

#include <assert.h>
#include <stdarg.h>
#include <string.h>

#include "ir/names.h"

/* ---- Rows and columns of a type --------------------------------------------------------------------------------- */

/* The first dim of the columns: dims before it have n_rows elements, the others n_cols. -1: there is none. */
static int split_dim(const Type *type, int64_t n_rows, int64_t n_cols) {
    int64_t n_before = 1;
    int dim = 0;
    while (dim < type->rank && n_before < n_rows)
        n_before *= type->dims[dim++].extent;
    return n_before == n_rows && type_span(type, dim, type->rank) == n_cols ? dim : -1;
}

/* Indices [*first, *end) of the space that a value of the role has elements for, and the dim of it where the columns
   start. False: the type is of another role. */
static bool role_dims(const Space *space, const Type *type, Role role, int *first, int *end, int *split) {
    int n_indices = space->n_row_indices + space->n_col_indices;
    *first = role == ROLE_COL ? space->n_row_indices : 0;
    *end = role == ROLE_ROW ? space->n_row_indices : n_indices;
    *split = split_dim(type, role == ROLE_COL ? 1 : space->n_rows, role == ROLE_ROW ? 1 : space->n_cols);
    return *split >= 0;
}

bool space_map(const Space *space, Value *value, Role role, View *view, int64_t *strides) {
    int first, end, split;
    memset(strides, 0, sizeof *strides * SPACE_MAX_INDICES);
    if (!view_of(value, view) || !role_dims(space, &value->type, role, &first, &end, &split))
        return false;
    int index = end - 1;
    for (int dim = value->type.rank - 1; dim >= 0; dim--) {
        int64_t left = value->type.dims[dim].extent, stride = view->strides[dim];
        for (; left > 1; index--) {
            if (index < first || left % space->extents[index] != 0)
                return false;
            strides[index] = stride;
            stride *= space->extents[index];
            left /= space->extents[index];
        }
    }
    return index < first;
}

/* Strides of a value of the role that is dense: what a value made in the block is read through. */
static void dense_strides(const Space *space, Role role, int64_t *strides) {
    int64_t stride = 1;
    memset(strides, 0, sizeof *strides * SPACE_MAX_INDICES);
    int first = role == ROLE_COL ? space->n_row_indices : 0;
    int end = role == ROLE_ROW ? space->n_row_indices : space->n_row_indices + space->n_col_indices;
    for (int i = end - 1; i >= first; i--) {
        strides[i] = stride;
        stride *= space->extents[i];
    }
}

int space_find(const Space *space, const Node *node) {
    size_t low = 0, high = space->n_nodes; /* nodes stand in the order of their results' numbers */
    while (low < high) {
        size_t middle = (low + high) / 2;
        if (space->nodes[middle]->results[0].number < node->results[0].number)
            low = middle + 1;
        else
            high = middle;
    }
    return low < space->n_nodes && space->nodes[low] == node ? (int)low : -1;
}

/* ---- Finding the space ------------------------------------------------------------------------------------------ */

bool space_refuse(SpaceFinder *at, const Node *node, const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    const char *text = arena_vprintf(at->arena, format, arguments);
    va_end(arguments);
    at->reason = arena_printf(at->arena, "%s %s", op_info(node->op)->name, text);
    return false;
}

/* How many elements make up each sum. */
static int64_t count_reduced(const Node *node) {
    const Type *type = &node->operands[0]->type;
    if (node->op == OP_sum_squares)
        return type_n_elements(type);
    int n_dims;
    int64_t n_reduced = 1;
    const int64_t *dims = attrs_ints(&node->attrs, "dims", &n_dims);
    for (int i = 0; i < n_dims; i++)
        n_reduced *= type->dims[dims[i]].extent;
    return n_reduced;
}

SpacePart space_part_of(const Node *node) {
    switch (node->op) {
    case OP_reduce_sum: /* of dims of one element it only names the elements anew */
        return count_reduced(node) == 1 && type_n_elements(&node->results[0].type) > 1 ? PART_MAP : PART_REDUCE;
    case OP_sum_squares:
        return PART_REDUCE;
    case OP_softmax:
    case OP_logsumexp:
    case OP_cross_entropy:
    case OP_cross_entropy_grad:
        return PART_ALONG_COLS;
    case OP_adamw:
        return PART_UPDATE;
    case OP_rope:
        return PART_PAIRS;
    case OP_dispatch:
    case OP_combine:
        return PART_GATHER;
    case OP_accumulate:
        return PART_ACCUMULATE;
    default:
        return op_info(node->op)->class == OP_CLASS_MAP ? PART_MAP : PART_NONE;
    }
}

static bool is_product(const Node *node) {
    return op_info(node->op)->class == OP_CLASS_CONTRACT;
}

/* Whether it adds up more than one tensor: these are the pieces of its space. */
static bool adds_pieces(const Node *node) {
    return node->op == OP_sum_squares && node->n_operands > 1;
}

/* Operands that are read at the row and column of the node, [*first, *end). */
static void plain_operands(const Node *node, int *first, int *end) {
    *first = node->op == OP_accumulate ? 1 : 0;
    *end = space_part_of(node) == PART_GATHER || is_product(node) || adds_pieces(node) ? 0 : node->n_operands;
    if (space_part_of(node) == PART_UPDATE) /* the states; what follows is the same for all elements */
        *end = node->n_results;
    if (space_part_of(node) == PART_PAIRS) /* the table has rows of its own */
        *end = 1;
}

bool space_reads_in_order(const Node *node, int operand) {
    int first, end;
    plain_operands(node, &first, &end);
    return first <= operand && operand < end && space_part_of(node) != PART_PAIRS;
}

/* Sums over the last dims, the first, or all; extents of 1 are in both. */
static bool reduced_sides(const Node *node, bool *is_over_cols) {
    const Type *type = &node->operands[0]->type;
    *is_over_cols = true;
    if (count_reduced(node) == type_n_elements(type))
        return true;
    int n_dims;
    const int64_t *dims = attrs_ints(&node->attrs, "dims", &n_dims);
    bool is_reduced[MAX_RANK] = {false};
    for (int i = 0; i < n_dims; i++)
        is_reduced[dims[i]] = true;
    int last = type->rank - 1;
    while (type->dims[last].extent == 1)
        last--;
    *is_over_cols = is_reduced[last];
    int n_changes = 0; /* between dims that are reduced and dims that are not */
    bool was_reduced = is_reduced[last];
    for (int dim = last; dim >= 0; dim--) {
        if (type->dims[dim].extent == 1)
            continue;
        n_changes += is_reduced[dim] != was_reduced;
        was_reduced = is_reduced[dim];
    }
    return n_changes == 1;
}

/* ---- How many rows and columns ---------------------------------------------------------------------------------- */

static bool set_size(SpaceFinder *at, Space *space, const Node *node, int64_t n_rows, int64_t n_cols) {
    if (space->n_rows == 0) {
        space->n_rows = n_rows;
        space->n_cols = n_cols;
    }
    if (space->n_rows != n_rows || space->n_cols != n_cols)
        return space_refuse(at, node, "has %lld rows of %lld columns, and the others %lld of %lld", (long long)n_rows,
                            (long long)n_cols, (long long)space->n_rows, (long long)space->n_cols);
    return true;
}

static bool set_pieces(SpaceFinder *at, Space *space, const Node *node) {
    int64_t n_elements = 0;
    for (int i = 0; i < node->n_operands; i++)
        n_elements += type_n_elements(&node->operands[i]->type);
    if (space->n_pieces > 0)
        return space_refuse(at, node, "adds up other tensors than the one before it");
    space->n_pieces = node->n_operands;
    space->sum = node;
    return set_size(at, space, node, 1, n_elements);
}

/* What the node says about the number of rows and columns, if anything. */
static bool note_size(SpaceFinder *at, Space *space, const Node *node) {
    if (space_part_of(node) == PART_NONE)
        return space_refuse(at, node, "has a kernel of its own");
    const Type *result = &node->results[0].type, *operand = &node->operands[0]->type;
    int64_t n_elements = type_n_elements(operand), n_reduced = 1;
    bool is_over_cols;
    if (result->dtype != DTYPE_F32 && result->dtype != DTYPE_BF16)
        return space_refuse(at, node, "of %s has a kernel of its own", dtype_name(result->dtype));
    switch (space_part_of(node)) {
    case PART_PAIRS:
        if (!space->has_pairs || type_extent(operand, -1) < 4)
            return space_refuse(at, node, "has a kernel of its own");
        return set_size(at, space, node, n_elements / type_extent(operand, -1), type_extent(operand, -1));
    case PART_REDUCE:
        if (adds_pieces(node))
            return set_pieces(at, space, node);
        if (!reduced_sides(node, &is_over_cols))
            return space_refuse(at, node, "sums neither whole rows nor whole columns");
        n_reduced = count_reduced(node);
        return set_size(at, space, node, is_over_cols ? n_elements / n_reduced : n_reduced,
                        is_over_cols ? n_reduced : n_elements / n_reduced);
    case PART_ALONG_COLS:
        return set_size(at, space, node, n_elements / type_extent(operand, -1), type_extent(operand, -1));
    case PART_GATHER:
        if (node->op == OP_combine && attrs_bool(&node->attrs, "per_slot", false))
            return space_refuse(at, node, "per slot has a kernel of its own");
        if (result->rank == 1) /* one element a row, of any space with these rows */
            return true;
        if (node->op == OP_combine)
            return set_size(at, space, node, type_n_elements(result) / type_span(operand, 1, operand->rank),
                            type_span(operand, 1, operand->rank));
        return set_size(at, space, node, result->dims[0].extent, type_span(result, 1, result->rank));
    default:
        return true;
    }
}

/* Where nothing says it, the largest value's last dim is the column. */
static void choose_size(Space *space) {
    const Type *largest = NULL;
    for (size_t i = 0; i < space->n_nodes; i++) {
        const Type *type = &space->nodes[i]->results[0].type;
        if (!largest || type_n_elements(type) > type_n_elements(largest))
            largest = type;
    }
    assert(largest);
    int last = largest->rank - 1;
    while (last > 0 && largest->dims[last].extent == 1)
        last--;
    space->n_cols = largest->rank > 0 ? largest->dims[last].extent : 1;
    space->n_rows = type_n_elements(largest) / space->n_cols;
}

/* ---- Roles ------------------------------------------------------------------------------------------------------ */

static bool has_role(const Space *space, const Type *type, Role role) {
    return split_dim(type, role == ROLE_COL ? 1 : space->n_rows, role == ROLE_ROW ? 1 : space->n_cols) >= 0;
}

/* The role of a node's result. */
static bool find_role(SpaceFinder *at, Space *space, size_t i) {
    Node *node = space->nodes[i];
    const Type *type = &node->results[0].type;
    bool is_over_cols = true;
    if (space_part_of(node) == PART_REDUCE)
        reduced_sides(node, &is_over_cols);
    if (node->op == OP_accumulate) { /* that of what is added */
        int source = space_find(space, view_owner(node->operands[1])->def);
        space->roles[i] = source >= 0 ? space->roles[source] : has_role(space, type, ROLE_FULL) ? ROLE_FULL : ROLE_ROW;
        return has_role(space, type, space->roles[i]) || space_refuse(at, node, "adds a value of another shape");
    }
    if (!is_over_cols)
        space->roles[i] = ROLE_COL;
    else if (has_role(space, type, ROLE_FULL))
        space->roles[i] = ROLE_FULL;
    else if (has_role(space, type, ROLE_ROW))
        space->roles[i] = ROLE_ROW;
    else
        return space_refuse(at, node, "gives %s, and rows and columns are %lld and %lld", type_format(at->arena, type),
                            (long long)space->n_rows, (long long)space->n_cols);
    return true;
}

/* The role in which node i reads plain operand j. What goes along the columns has one of these; its others have an
   element a row. */
static Role operand_role(const Space *space, size_t i, int j) {
    SpacePart part = space_part_of(space->nodes[i]);
    if (part == PART_ALONG_COLS)
        return j == 0 ? ROLE_FULL : ROLE_ROW;
    return part == PART_REDUCE ? ROLE_FULL : space->roles[i];
}

/* ---- Indices ---------------------------------------------------------------------------------------------------- */

/* Numbers of elements at which dims of a side's types start, counted from the end: each divides the next. */
typedef struct {
    int64_t items[SPACE_MAX_INDICES + 1];
    int n;
} Cuts;

static bool add_cut(Cuts *cuts, int64_t cut) {
    int place = 0;
    while (place < cuts->n && cuts->items[place] < cut)
        place++;
    if (cut == 1 || (place < cuts->n && cuts->items[place] == cut))
        return true;
    if (cuts->n > SPACE_MAX_INDICES || (place > 0 && cut % cuts->items[place - 1] != 0) ||
        (place < cuts->n && cuts->items[place] % cut != 0))
        return false;
    memmove(&cuts->items[place + 1], &cuts->items[place], sizeof *cuts->items * (size_t)(cuts->n - place));
    cuts->items[place] = cut;
    cuts->n++;
    return true;
}

static bool add_cuts(Cuts *rows, Cuts *cols, const Space *space, const Type *type, Role role) {
    int split = split_dim(type, role == ROLE_COL ? 1 : space->n_rows, role == ROLE_ROW ? 1 : space->n_cols);
    int64_t n = 1;
    bool is_lined_up = split >= 0;
    for (int dim = type->rank - 1; dim >= 0 && is_lined_up; dim--) {
        n = dim == split - 1 ? 1 : n;
        n *= type->dims[dim].extent;
        is_lined_up = add_cut(dim < split ? rows : cols, n);
    }
    return is_lined_up;
}

/* The indices of one side, outermost first, behind those that are there. */
static int set_extents(Space *space, int first, const Cuts *cuts) {
    for (int i = cuts->n - 1; i >= 0; i--)
        space->extents[first++] = cuts->items[i] / (i > 0 ? cuts->items[i - 1] : 1);
    return cuts->n;
}

static bool find_indices(SpaceFinder *at, Space *space) {
    Cuts rows = {0}, cols = {0};
    for (size_t i = 0; i < space->n_nodes; i++) {
        Node *node = space->nodes[i];
        int first, end;
        plain_operands(node, &first, &end);
        bool is_lined_up = add_cuts(&rows, &cols, space, &node->results[0].type, space->roles[i]);
        if (is_lined_up && space->has_pairs)
            is_lined_up = add_cut(&cols, space->n_cols / 2);
        for (int j = first; j < end && is_lined_up; j++)
            is_lined_up = add_cuts(&rows, &cols, space, &node->operands[j]->type, operand_role(space, i, j));
        if (!is_lined_up)
            return space_refuse(at, node, "has dims that do not line up with those of the others");
    }
    if (space->given && !add_cuts(&rows, &cols, space, &space->given->type, ROLE_FULL))
        return space_refuse(at, space->given->def, "has dims that do not line up with those of the others");
    if (space->top_k && !add_cuts(&rows, &cols, space, &space->top_k->operands[0]->type, ROLE_FULL))
        return space_refuse(at, space->top_k, "has dims that do not line up with those of the others");
    if (space->n_pieces > 0) {
        if (rows.n + cols.n > 0)
            return space_refuse(at, space->nodes[0], "and the others are not of one element or one list of tensors");
        space->n_col_indices = 1;
        space->extents[0] = space->n_cols;
        return true;
    }
    if (rows.n + cols.n > SPACE_MAX_INDICES)
        return space_refuse(at, space->nodes[0], "and the others have more than %d dims in all", SPACE_MAX_INDICES);
    space->n_row_indices = set_extents(space, 0, &rows);
    space->n_col_indices = set_extents(space, space->n_row_indices, &cols);
    return true;
}

/* ---- What nodes read -------------------------------------------------------------------------------------------- */

/* A value that the block makes is read as it is made: each element by its own row and column. */
bool space_check_read(SpaceFinder *at, const Space *space, const Node *node, Value *value, Role role) {
    View view;
    int64_t strides[SPACE_MAX_INDICES], dense[SPACE_MAX_INDICES];
    if (!space_map(space, value, role, &view, strides))
        return space_refuse(at, node, "reads an operand through no map of rows and columns");
    int source = space_find(space, view.owner->def);
    if (source < 0 && (!space->given || view.owner != space->given))
        return true;
    Role made = source < 0 ? ROLE_FULL : space->roles[source];
    if (made == ROLE_COL && node->op != OP_accumulate)
        return space_refuse(at, node, "reads a sum over all rows, which is there only at the end");
    dense_strides(space, made, dense);
    if (view.offset != 0 || memcmp(strides, dense, sizeof strides) != 0)
        return space_refuse(at, node, "reads what %s makes in another order", op_info(view.owner->def->op)->name);
    return true;
}

static bool check_reads(SpaceFinder *at, const Space *space, size_t i) {
    const Node *node = space->nodes[i];
    int first, end;
    plain_operands(node, &first, &end);
    for (int j = 0; j < node->n_operands; j++) {
        Value *value = node->operands[j];
        if (j >= first && j < end) {
            if (!space_check_read(at, space, node, value, operand_role(space, i, j)))
                return false;
        } else if (space_find(space, view_owner(value)->def) >= 0) {
            return space_refuse(at, node, "%s what %s makes, which is not whole yet",
                                space_part_of(node) == PART_GATHER ? "gathers from" : "needs all of",
                                op_info(view_owner(value)->def->op)->name);
        }
    }
    return true;
}

/* The state that node i updates by its operand is used by nothing else. */
static bool check_state(SpaceFinder *at, Node *const *nodes, size_t n, size_t i, int operand) {
    const char *name = attrs_string(&view_owner(nodes[i]->operands[operand])->def->attrs, "name", "");
    for (size_t j = 0; j < n; j++) {
        for (int k = 0; k < nodes[j]->n_operands; k++) {
            const Node *owner = view_owner(nodes[j]->operands[k])->def;
            bool is_itself = j == i && k == operand;
            if (!is_itself && owner->op == OP_state && strcmp(attrs_string(&owner->attrs, "name", ""), name) == 0)
                return space_refuse(at, nodes[j], "uses state \"%s\", which another one %s", name,
                                    nodes[i]->op == OP_accumulate ? "adds to" : "updates");
        }
    }
    return true;
}

static bool check_states(SpaceFinder *at, Node *const *nodes, size_t n) {
    for (size_t i = 0; i < n; i++) {
        bool is_update = op_info(nodes[i]->op)->class == OP_CLASS_UPDATE;
        for (int operand = 0; is_update && operand < nodes[i]->n_results; operand++) {
            if (!check_state(at, nodes, n, i, operand))
                return false;
        }
    }
    return true;
}

bool space_find_rows(SpaceFinder *at, Space *space) {
    for (size_t i = 0; i < space->n_nodes; i++) {
        if (!is_product(space->nodes[i]) && !note_size(at, space, space->nodes[i]))
            return false;
    }
    if (space->n_rows == 0)
        choose_size(space);
    for (size_t i = 0; i < space->n_nodes; i++) {
        if (!find_role(at, space, i))
            return false;
    }
    if (!find_indices(at, space))
        return false;
    for (size_t i = 0; i < space->n_nodes; i++) {
        if (!is_product(space->nodes[i]) && !check_reads(at, space, i))
            return false;
    }
    return true;
}

/* ---- Products --------------------------------------------------------------------------------------------------- */

/* The nodes of a block with products: which operands each of them feeds, by number of the operand, and whether it reads
   what a product makes. */
typedef struct {
    SpaceFinder *at;
    Space *space;
    Space all; /* nodes only: for space_find */
    uint32_t feeds[SPACE_MAX_NODES];
    bool is_after[SPACE_MAX_NODES];
} ProductFinder;

static bool is_mode(const Node *product, const char *mode) {
    return strcmp(attrs_string(&product->attrs, "mode", ""), mode) == 0;
}

/* All products of a block have one shape, and the same rows in the same groups. */
static bool check_product(SpaceFinder *at, const Space *space, const Node *node) {
    const Type *type = &node->results[0].type;
    int64_t n_cols = type_extent(type, -1);
    const Node *first = space->products[0].node;
    bool is_alike = node->op == first->op && is_mode(node, "tn") == is_mode(first, "tn") &&
                    type_n_elements(type) == space->n_rows * space->n_cols && n_cols == space->n_cols;
    if (is_alike && node->op == OP_grouped_matmul)
        is_alike = view_owner(node->operands[2]) == view_owner(first->operands[2]);
    is_alike = is_alike && node->operands[0]->type.dtype == first->operands[0]->type.dtype;
    return is_alike || space_refuse(at, node, "has other rows and columns than the product before it");
}

/* The number of the product's operand, added if it is not there yet. Of one value, "nt" and "nn" read other elements.
 */
static int add_operand(Space *space, const Node *node, bool is_lhs) {
    Value *value = node->operands[is_lhs ? 0 : 1];
    for (int i = 0; i < space->n_products; i++) {
        const SpaceProduct *product = &space->products[i];
        int known = is_lhs ? product->lhs : product->rhs;
        bool is_alike = is_lhs || is_mode(product->node, "nn") == is_mode(node, "nn");
        if (is_alike && space->operands[known].value == value)
            return known;
    }
    space->operands[space->n_operands].value = value;
    return space->n_operands++;
}

static bool is_gather(const Node *node) {
    return node->op == OP_dispatch && node->results[0].type.rank > 1;
}

static bool add_product(SpaceFinder *at, Space *space, Node *node) {
    if (space->n_products == SPACE_MAX_PRODUCTS)
        return space_refuse(at, node, "would be one product more than the %d of a kernel", SPACE_MAX_PRODUCTS);
    if (space->n_products == 0) {
        space->products[0].node = node;
        space->n_cols = type_extent(&node->results[0].type, -1);
        space->n_rows = type_n_elements(&node->results[0].type) / space->n_cols;
    }
    if (!check_product(at, space, node))
        return false;
    SpaceProduct product = {node, add_operand(space, node, true), add_operand(space, node, false)};
    space->products[space->n_products++] = product;
    return true;
}

/* The node that the operand comes from, by its number among all; -1: from outside of the block. */
static int source_of(const ProductFinder *find, Value *value) {
    return space_find(&find->all, view_owner(value)->def);
}

/* Forward: what reads results of products. */
static bool find_epilogue(ProductFinder *find) {
    for (size_t i = 0; i < find->all.n_nodes; i++) {
        const Node *node = find->all.nodes[i];
        for (int j = 0; j < node->n_operands; j++) {
            int source = source_of(find, node->operands[j]);
            bool reads = source >= 0 && (find->is_after[source] || is_product(find->all.nodes[source]));
            if (reads && is_product(node))
                return space_refuse(find->at, node, "multiplies what another product of the kernel makes");
            find->is_after[i] |= reads;
        }
    }
    return true;
}

/* Backward: what operands of products are made from. */
static bool find_prologues(ProductFinder *find) {
    for (size_t i = find->all.n_nodes; i-- > 0;) {
        const Node *node = find->all.nodes[i];
        for (int j = 0; j < node->n_operands; j++) {
            int source = source_of(find, node->operands[j]);
            if (source < 0)
                continue;
            find->feeds[source] |= find->feeds[i];
            for (int k = 0; k < find->space->n_products && is_product(node); k++) {
                const SpaceProduct *product = &find->space->products[k];
                if (product->node == node && j < 2)
                    find->feeds[source] |= 1U << (j == 0 ? product->lhs : product->rhs);
            }
        }
    }
    return true;
}

/* Nothing is both in a part and in the epilogue. */
static bool check_sides(ProductFinder *find) {
    for (size_t i = 0; i < find->all.n_nodes; i++) {
        const Node *node = find->all.nodes[i];
        SpacePart part = space_part_of(node);
        if (is_product(node))
            continue;
        if (part != PART_MAP && part != PART_GATHER && !(part == PART_ACCUMULATE && find->is_after[i]))
            return space_refuse(find->at, node, "can't be done on parts of a product's result or operand");
        for (int j = 0; j < node->n_operands; j++) {
            int source = source_of(find, node->operands[j]);
            if (source >= 0 && find->feeds[source] && !find->feeds[i])
                return space_refuse(find->at, node, "reads what an operand of the product is made from");
        }
    }
    return true;
}

/* The space of what makes operand number i; NULL where it comes from memory. */
static bool find_part(ProductFinder *find, int i, const SpaceProduct *product, bool is_lhs) {
    SpaceOperand *operand = &find->space->operands[i];
    if (operand->part || source_of(find, operand->value) < 0)
        return true;
    if (!is_lhs && product->node->op == OP_grouped_matmul && !is_mode(product->node, "tn"))
        return space_refuse(find->at, product->node, "reads matrices of experts from memory");
    bool is_read_only = operand->value->type.dtype == DTYPE_BF16 && !is_gather(view_owner(operand->value)->def);
    if (is_read_only)
        return space_refuse(find->at, product->node, "reads bf16 from memory");
    Space *part = arena_new_of(find->at->arena, Space);
    part->kind = SPACE_ROWS;
    part->n_cols = type_extent(&operand->value->type, -1);
    part->n_rows = type_n_elements(&operand->value->type) / part->n_cols;
    for (size_t j = 0; j < find->all.n_nodes; j++) {
        if (find->feeds[j] & 1U << i)
            part->nodes[part->n_nodes++] = find->all.nodes[j];
    }
    operand->part = part;
    return space_find_rows(find->at, part) &&
           space_check_read(find->at, part, product->node, operand->value, ROLE_FULL);
}

static bool find_product(SpaceFinder *at, Space *space, Node *const *nodes, size_t n) {
    ProductFinder find = {.at = at, .space = space, .all = {.n_nodes = n}};
    memcpy(find.all.nodes, nodes, sizeof *nodes * n);
    for (size_t i = 0; i < n; i++) {
        if (is_product(nodes[i]) && !add_product(at, space, nodes[i]))
            return false;
    }
    if (!find_epilogue(&find) || !find_prologues(&find) || !check_sides(&find))
        return false;
    for (int i = 0; i < space->n_products; i++) {
        const SpaceProduct *product = &space->products[i];
        if (!find_part(&find, product->lhs, product, true) || !find_part(&find, product->rhs, product, false))
            return false;
    }
    for (size_t i = 0; i < n; i++) {
        if (!find.feeds[i])
            space->nodes[space->n_nodes++] = nodes[i];
    }
    return space_find_rows(at, space);
}

/* ---- Routes ----------------------------------------------------------------------------------------------------- */

static bool is_of_route(const Node *node) {
    return node->op == OP_top_k || node->op == OP_histogram || node->op == OP_route;
}

static Node **route_place(Space *space, OpKind op) {
    return op == OP_top_k ? &space->top_k : op == OP_histogram ? &space->histogram : &space->route;
}

static int64_t n_experts_of(const Node *node) {
    return attrs_int(&node->attrs, node->op == OP_histogram ? "bins" : "experts", 0);
}

/* All are of one choice; columns are the experts of each. */
static bool check_experts(SpaceFinder *at, Space *space, const Node *node) {
    Value *experts = node->operands[0], *given = space->top_k ? &space->top_k->results[1] : NULL;
    View view, other;
    if (!given && space->histogram && space->route)
        given = space->histogram->operands[0];
    if (!view_of(experts, &view) || !view_is_dense(&view, &experts->type))
        return space_refuse(at, node, "reads experts that are not dense");
    bool is_alike = !given || (view_of(given, &other) && view.owner == other.owner && view.offset == other.offset &&
                               type_n_elements(&given->type) == type_n_elements(&experts->type));
    if (!is_alike)
        return space_refuse(at, node, "is of other experts than the one before it");
    if (!space->top_k && space->n_rows == 0) {
        space->n_rows = type_n_elements(&experts->type);
        space->n_cols = n_experts_of(node);
    }
    return n_experts_of(node) == space->n_cols || space_refuse(at, node, "has %lld experts, and there are %lld",
                                                               (long long)n_experts_of(node), (long long)space->n_cols);
}

/* What makes scores, or has their rows and columns. */
static bool check_scoring(SpaceFinder *at, const Space *space) {
    for (size_t i = 0; i < space->n_nodes; i++) {
        const Node *node = space->nodes[i];
        if (!space->top_k || space->roles[i] == ROLE_COL || op_info(node->op)->class == OP_CLASS_UPDATE)
            return space_refuse(at, node, "is no part of choosing experts");
        for (int j = 0; j < node->n_operands; j++) {
            const Node *owner = view_owner(node->operands[j])->def;
            if (owner == space->top_k || owner == space->histogram || owner == space->route)
                return space_refuse(at, node, "reads what %s makes, which is not whole yet", op_info(owner->op)->name);
        }
    }
    return space->n_nodes == 0 || space->n_cols <= SPACE_MAX_COMPUTED_SCORES ||
           space_refuse(at, space->top_k, "chooses from more than %d computed scores", SPACE_MAX_COMPUTED_SCORES);
}

static bool find_route(SpaceFinder *at, Space *space, Node *const *nodes, size_t n) {
    for (size_t i = 0; i < n; i++) {
        if (is_product(nodes[i]) || adds_pieces(nodes[i]))
            return space_refuse(at, nodes[i], "is no part of choosing experts");
        if (!is_of_route(nodes[i])) {
            space->nodes[space->n_nodes++] = nodes[i];
            continue;
        }
        Node **place = route_place(space, nodes[i]->op);
        if (*place)
            return space_refuse(at, nodes[i], "is there already");
        *place = nodes[i];
    }
    if (space->top_k) {
        const Type *scores = &space->top_k->operands[0]->type;
        space->n_cols = type_extent(scores, -1);
        space->n_rows = type_n_elements(scores) / space->n_cols;
    }
    if ((space->histogram && !check_experts(at, space, space->histogram)) ||
        (space->route && !check_experts(at, space, space->route)))
        return false;
    if (!space->top_k) {
        space->n_row_indices = space->n_rows > 1;
        space->n_col_indices = space->n_cols > 1;
        space->extents[0] = space->n_rows > 1 ? space->n_rows : space->n_cols;
        space->extents[space->n_row_indices] = space->n_cols;
        return check_scoring(at, space);
    }
    return space_find_rows(at, space) && check_scoring(at, space) &&
           space_check_read(at, space, space->top_k, space->top_k->operands[0], ROLE_FULL);
}

/* ---- One update of many states ---------------------------------------------------------------------------------- */

static bool are_alike(const Node *a, const Node *b) {
    bool are = a->op == b->op && a->n_operands == b->n_operands && attrs_equal(&a->attrs, &b->attrs);
    for (int i = a->n_results; i < a->n_operands && are; i++)
        are = a->operands[i] == b->operands[i];
    return are;
}

/* Whether the nodes are one computation, each on states of its own. */
static bool is_list_of_updates(Arena *arena, Node *const *nodes, size_t n) {
    Names states = {.arena = arena};
    for (size_t i = 0; i < n; i++) {
        if (space_part_of(nodes[i]) != PART_UPDATE || !are_alike(nodes[0], nodes[i]))
            return false;
        for (int j = 0; j < nodes[i]->n_results; j++) {
            const Node *owner = view_owner(nodes[i]->operands[j])->def;
            if (owner->op != OP_state || !names_add(&states, attrs_string(&owner->attrs, "name", ""), i))
                return false;
        }
    }
    return n > 1;
}

static void fill_updates(Space *space, Node *const *nodes, size_t n) {
    space->nodes[0] = nodes[0];
    space->n_nodes = 1;
    space->roles[0] = ROLE_FULL;
    space->n_pieces = (int)n;
    space->updates = nodes;
    space->n_rows = space->n_col_indices = 1;
    for (size_t i = 0; i < n; i++)
        space->n_cols += type_n_elements(&nodes[i]->results[0].type);
    space->extents[0] = space->n_cols;
}

Value *space_piece(const Space *space, int operand, int piece) {
    return space->updates ? space->updates[piece]->operands[operand] : space->sum->operands[piece];
}

Space *space_of(Arena *arena, Node *const *nodes, size_t n, const char **reason) {
    SpaceFinder at = {.arena = arena};
    Space *space = arena_new_of(arena, Space);
    assert(n > 0);
    *reason = NULL;
    if (is_list_of_updates(arena, nodes, n)) {
        fill_updates(space, nodes, n);
        return space;
    }
    if (n > SPACE_MAX_NODES)
        space_refuse(&at, nodes[n - 1], "would be one node more than the %d of a kernel", SPACE_MAX_NODES);
    for (size_t i = 0; i < n && n <= SPACE_MAX_NODES && space->kind != SPACE_ROUTE; i++)
        space->kind = is_of_route(nodes[i])          ? SPACE_ROUTE
                      : is_product(nodes[i])         ? SPACE_PRODUCT
                      : space_is_attention(nodes[i]) ? SPACE_ATTENTION
                                                     : space->kind;
    if (!at.reason && space->kind == SPACE_PRODUCT)
        find_product(&at, space, nodes, n);
    if (!at.reason && space->kind == SPACE_ATTENTION)
        space_find_attention(&at, space, nodes, n);
    if (!at.reason && space->kind == SPACE_ROUTE)
        find_route(&at, space, nodes, n);
    if (!at.reason && space->kind == SPACE_ROWS) {
        space->n_nodes = n;
        memcpy(space->nodes, nodes, sizeof *nodes * n);
        space_find_rows(&at, space);
    }
    if (!at.reason)
        check_states(&at, nodes, n);
    *reason = at.reason;
    return at.reason ? NULL : space;
}

bool space_can_store(const Space *space, const Node *node) {
    int i = space_find(space, node);
    for (int j = 0; j < SPACE_MAX_RESULTS && i < 0 && space->kind == SPACE_ATTENTION; j++) {
        if (space->bodies[j] && space_find(space->bodies[j], node) >= 0)
            return true; /* FULL all of them */
    }
    if (space->kind == SPACE_ROUTE)
        return true;
    return i >= 0 && (space->kind == SPACE_ROWS || space->roles[i] != ROLE_ROW);
}
