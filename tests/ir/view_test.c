// RUN: %unit %s
/* Maps of views against the interpreter: a chain of random views of 0, 1, 2, .. shows where each of its elements comes
   from. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#include "ir/view.h"
#include "tests/support/program.h"
#include "tests/support/random.h"

enum { N_CHAINS = 400, MAX_VIEWS = 5, MAX_CHAIN_ELEMENTS = 600 };

/* ---- Random chains --------------------------------------------------------------------------------------------- */

static int64_t below(uint64_t *random, int64_t n) {
    return (int64_t)(random_uniform(random) * (double)n);
}

/* The same elements in other dims: the prime factors of the extents, and at times a 1, dealt out anew. */
static Value *random_reshape(Builder *builder, Value *x, uint64_t *random) {
    Type type = {.dtype = DTYPE_F32, .rank = (int)(1 + below(random, 4))};
    for (int i = 0; i < type.rank; i++)
        type.dims[i].extent = 1;
    bool is_in_order = below(random, 2) == 0; /* factors stay neighbours: often a map exists */
    int64_t n_left = type_n_elements(&x->type);
    int at = 0;
    for (int64_t factor = 2; n_left > 1; factor++) {
        for (; n_left % factor == 0; n_left /= factor) {
            at = is_in_order ? at + (int)below(random, type.rank - at) : (int)below(random, type.rank);
            type.dims[at].extent *= factor;
        }
    }
    return build_reshape(builder, x, &type);
}

static Value *random_broadcast(Builder *builder, Value *x, uint64_t *random) {
    Type type = {.dtype = DTYPE_F32};
    int64_t map[MAX_RANK];
    for (int i = 0; i <= x->type.rank; i++) {
        bool has_room = type.rank + x->type.rank - i < MAX_RANK - 1;
        if (has_room && below(random, 3) == 0)
            type.dims[type.rank++].extent = 1 + below(random, 3);
        if (i == x->type.rank)
            break;
        map[i] = type.rank;
        type.dims[type.rank++] = x->type.dims[i];
    }
    return type_n_elements(&type) > MAX_CHAIN_ELEMENTS ? x : build_broadcast(builder, x, &type, map);
}

static Value *random_transpose(Builder *builder, Value *x, uint64_t *random) {
    int64_t perm[MAX_RANK];
    for (int i = 0; i < x->type.rank; i++) {
        int other = (int)below(random, i + 1);
        perm[i] = perm[other];
        perm[other] = i;
    }
    Attrs attrs = {0};
    attrs_set_ints(builder->graph->module->arena, &attrs, "perm", perm, x->type.rank);
    return build(builder, OP_transpose, 1, &x, &attrs);
}

static Value *random_slice(Builder *builder, Value *x, uint64_t *random) {
    if (x->type.rank == 0)
        return x;
    int dim = (int)below(random, x->type.rank);
    int64_t extent = 1 + below(random, x->type.dims[dim].extent);
    return build_slice(builder, x, dim, below(random, x->type.dims[dim].extent - extent + 1), extent);
}

static Value *random_view(Builder *builder, Value *x, uint64_t *random) {
    static Value *(*const views[])(Builder *, Value *, uint64_t *) = {random_reshape, random_reshape, random_broadcast,
                                                                      random_transpose, random_slice};
    return views[below(random, sizeof views / sizeof *views)](builder, x, random);
}

static Type random_type(uint64_t *random) {
    Type type = {.dtype = DTYPE_F32, .rank = (int)below(random, 4)};
    for (int i = 0; i < type.rank; i++)
        type.dims[i].extent = 1 + below(random, 4);
    return type;
}

/* ---- What a chain shows ----------------------------------------------------------------------------------------- */

/* Where element `flat` of the value is, by the map. */
static int64_t mapped(const View *view, const Type *type, int64_t flat) {
    int64_t at = view->offset;
    for (int i = type->rank - 1; i >= 0; i--) {
        at += flat % type->dims[i].extent * view->strides[i];
        flat /= type->dims[i].extent;
    }
    return at;
}

/* The only map that `elements` can have: found along the axes. */
static View map_of_elements(const Type *type, const double *elements) {
    View view = {.offset = (int64_t)elements[0]};
    int64_t step = 1;
    for (int i = type->rank - 1; i >= 0; i--) {
        view.strides[i] = type->dims[i].extent > 1 ? (int64_t)(elements[step] - elements[0]) : 0;
        step *= type->dims[i].extent;
    }
    return view;
}

static bool shows(const View *view, const Type *type, const double *elements) {
    for (int64_t i = 0; i < type_n_elements(type); i++) {
        if ((double)mapped(view, type, i) != elements[i])
            return false;
    }
    return true;
}

static bool is_in_sequence(const double *elements, int64_t n) {
    for (int64_t i = 0; i < n; i++) {
        if (elements[i] != elements[0] + (double)i)
            return false;
    }
    return true;
}

/* The chain up to the value before has a map. Whether the value has one. */
static bool check_value(Value *value, Value *owner, const double *elements) {
    View view, only = map_of_elements(&value->type, elements);
    bool has_map = view_of(value, &view), could_have = shows(&only, &value->type, elements);
    if (has_map != could_have)
        fail_msg("%s of %s: view_of finds %s map, and there is %s", op_info(value->def->op)->name,
                 type_format(owner->def->scratch, &value->type), has_map ? "a" : "no", could_have ? "one" : "none");
    if (!has_map)
        return false;
    assert_ptr_equal(view.owner, owner);
    if (!shows(&view, &value->type, elements))
        fail_msg("the map of %s is wrong", op_info(value->def->op)->name);
    int rank = value->type.rank;
    int64_t n_columns = rank > 0 ? value->type.dims[rank - 1].extent : 1; /* the first vector is as all others */
    assert_int_equal(view_has_vectors(&view, &value->type), is_in_sequence(elements, n_columns));
    assert_int_equal(view_is_dense(&view, &value->type), is_in_sequence(elements, type_n_elements(&value->type)));
    return true;
}

/* Everything behind a value without map has none either. */
static bool check_chain(uint64_t seed) {
    Arena *arena = arena_new();
    uint64_t random = seed;
    Module *module = module_new(arena, "chain");
    Builder builder = {.graph = module_add_graph(module, "main")};
    Type type = random_type(&random);
    Value *owner = build_input(&builder, "x", &type), *chain[MAX_VIEWS];
    owner->def->scratch = arena;
    for (int i = 0; i < MAX_VIEWS; i++)
        chain[i] = random_view(&builder, i > 0 ? chain[i - 1] : owner, &random);
    Interpreter *interpreter = interpreter_new(arena, module);
    Tensor x = tensor_new(arena, &type);
    for (int64_t i = 0; i < type_n_elements(&type); i++)
        x.data[i] = (double)i;
    interpreter_set_input(interpreter, "x", x);
    assert_null(interpreter_run(interpreter, builder.graph));
    bool has_map = true;
    View view;
    for (int i = 0; i < MAX_VIEWS; i++) {
        assert_ptr_equal(view_owner(chain[i]), owner);
        if (has_map)
            has_map = check_value(chain[i], owner, interpreter_value(interpreter, chain[i])->data);
        else
            assert_false(view_of(chain[i], &view));
    }
    arena_free(arena);
    return has_map;
}

static void random_chains_have_the_map_that_they_show(void **state) {
    (void)state;
    int n_with_map = 0;
    for (uint64_t seed = 0; seed < N_CHAINS; seed++)
        n_with_map += check_chain(seed);
    assert_in_range(n_with_map, N_CHAINS / 4, N_CHAINS * 7 / 8);
}

/* ---- By hand ---------------------------------------------------------------------------------------------------- */

static Value *value_of(const Program *program, const char *output) {
    return graph_find_output(program->module->graphs[0], output);
}

/* What an update leaves is the state, under the state's own map. */
static void results_of_updates_are_their_states(void **state) {
    (void)state;
    Program program = program_read("state \"s\" weight : f32[2, 3]\n"
                                   "graph main {\n"
                                   "  %s = state {name = \"s\"} : f32[2, 3]\n"
                                   "  %x = input {name = \"x\"} : f32[2, 3]\n"
                                   "  %u = accumulate %s, %x : f32[2, 3]\n"
                                   "  %again = accumulate %u, %x : f32[2, 3]\n"
                                   "  %row = slice %again {dim = 0, start = 1} : f32[1, 3]\n"
                                   "  output \"s\" = %s\n"
                                   "  output \"row\" = %row\n"
                                   "}\n");
    View view;
    assert_true(view_of(value_of(&program, "row"), &view));
    assert_ptr_equal(view.owner, value_of(&program, "s"));
    assert_ptr_equal(view_owner(value_of(&program, "row")), value_of(&program, "s"));
    assert_int_equal(view.offset, 3);
    assert_true(view_is_dense(&view, &value_of(&program, "row")->type));
    program_free(&program);
}

/* The links of a chain: what each shares storage with, and its map as if a link owned its storage. */
static void a_link_can_stand_for_the_owner(void **state) {
    (void)state;
    Program program = program_read("graph main {\n"
                                   "  %x = input {name = \"x\"} : f32[2, 3]\n"
                                   "  %t = transpose %x {perm = [1, 0]} : f32[3, 2]\n"
                                   "  %r = reshape %t : f32[6]\n"
                                   "  %e = exp %x : f32[2, 3]\n"
                                   "  output \"t\" = %t\n"
                                   "  output \"r\" = %r\n"
                                   "  output \"e\" = %e\n"
                                   "}\n");
    Value *t = value_of(&program, "t"), *r = value_of(&program, "r"), *e = value_of(&program, "e");
    View view;
    assert_ptr_equal(view_source(r), t);
    assert_ptr_equal(view_source(t), e->def->operands[0]);
    assert_null(view_source(e));
    assert_false(view_of(r, &view));
    assert_true(view_on(r, t, &view));
    assert_ptr_equal(view.owner, t);
    assert_true(view_is_dense(&view, &r->type));
    assert_true(view_on(e, e, &view));
    program_free(&program);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(random_chains_have_the_map_that_they_show),
        cmocka_unit_test(results_of_updates_are_their_states),
        cmocka_unit_test(a_link_can_stand_for_the_owner),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
