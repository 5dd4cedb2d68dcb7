// RUN: %unit %s
/* The engine: binding, states over runs, what fails and how it says so, memory over many runs. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "tests/support/program.h"

static const char scale_text[] = "file 0 \"model.moe\"\n"
                                 "state \"w\" weight : f32[2]\n"
                                 "graph main {\n"
                                 "  %0 = state {name = \"w\"} : f32[2]\n"
                                 "  %1 = input {name = \"x\"} : f32[2] @0:3:7\n"
                                 "  %2 = constant {value = 10.0} : f32[2]\n"
                                 "  %3 = mul %0, %2 : f32[2]\n"
                                 "  %4 = add %3, %1 : f32[2]\n"
                                 "  output \"y\" = %4\n"
                                 "}\n";

static void a_graph_computes_from_state_input_and_constant(void **state) {
    (void)state;
    Program program = program_read(scale_text);
    program_set(&program, "w", VALUES(1, 2));
    program_set(&program, "x", VALUES(3, -4));
    program_run(&program, "main");
    program_expect(&program, "y", VALUES(13, 16));
    program_free(&program);
}

static void unbound_states_are_zero(void **state) {
    (void)state;
    Program program = program_read(scale_text);
    program_set(&program, "x", VALUES(3, -4));
    program_run(&program, "main");
    program_expect(&program, "y", VALUES(3, -4));
    program_free(&program);
}

static void an_unbound_input_is_named_with_its_place(void **state) {
    (void)state;
    Program program = program_read(scale_text);
    assert_string_equal(program_run_failing(&program, "main"),
                        "model.moe:3:7: graph main: %1 = input: input \"x\" is not bound: expected f32[2]");
    assert_null(interpreter_output(program.interpreter, "y"));
    program_free(&program);
}

static void an_input_of_another_type_is_refused(void **state) {
    (void)state;
    Program program = program_read(scale_text);
    Type type = {.dtype = DTYPE_F32, .rank = 1, .dims = {{.extent = 3}}};
    interpreter_set_input(program.interpreter, "x", tensor_new(program.arena, &type));
    assert_string_equal(program_run_failing(&program, "main"),
                        "model.moe:3:7: graph main: %1 = input: input \"x\" is bound to f32[3]: expected f32[2]");
    program_free(&program);
}

/* Training and generating take tokens of different shapes under one name. */
static void an_input_may_change_its_type_between_runs(void **state) {
    (void)state;
    Program program = program_read(scale_text);
    Type type = {.dtype = DTYPE_F32, .rank = 1, .dims = {{.extent = 3}}};
    interpreter_set_input(program.interpreter, "x", tensor_new(program.arena, &type));
    type.dims[0].extent = 2;
    Tensor x = tensor_new(program.arena, &type);
    x.data[1] = 5;
    interpreter_set_input(program.interpreter, "x", x);
    program_run(&program, "main");
    program_expect(&program, "y", VALUES(0, 5));
    program_free(&program);
}

static void names_that_are_not_there_give_null(void **state) {
    (void)state;
    Program program = program_read(scale_text);
    assert_null(interpreter_state(program.interpreter, "v"));
    assert_null(interpreter_input(program.interpreter, "x"));
    assert_null(interpreter_output(program.interpreter, "y"));
    program_free(&program);
}

static void the_caller_keeps_the_tensor_it_binds(void **state) {
    (void)state;
    Program program = program_read(scale_text);
    Type type = {.dtype = DTYPE_F32, .rank = 1, .dims = {{.extent = 2}}};
    Tensor w = tensor_new(program.arena, &type);
    w.data[0] = 1;
    interpreter_set_state(program.interpreter, "w", w);
    w.data[0] = 7;
    assert_true(interpreter_state(program.interpreter, "w")->data[0] == 1);
    program_free(&program);
}

/* A value read after an update in the same graph is the updated state: both are the same storage. */
static void a_state_is_its_own_storage(void **state) {
    (void)state;
    Program program = program_read("state \"grad:w\" grad : f32[1]\n"
                                   "graph main {\n"
                                   "  %0 = state {name = \"grad:w\"} : f32[1]\n"
                                   "  %1 = constant {value = 2.0} : f32[1]\n"
                                   "  %2 = accumulate %0, %1 : f32[1]\n"
                                   "  %3 = mul %2, %1 : f32[1]\n"
                                   "  output \"sum\" = %2\n"
                                   "  output \"double\" = %3\n"
                                   "}\n");
    program_set(&program, "grad:w", VALUES(3));
    program_run(&program, "main");
    program_expect(&program, "sum", VALUES(5));
    program_expect(&program, "double", VALUES(10));
    assert_ptr_equal(interpreter_output(program.interpreter, "sum")->data, program_tensor(&program, "grad:w")->data);
    program_free(&program);
}

/* Value 1 of `large` needs more room than value 1 of `small`; a sum starts from zero each time. */
static void graphs_of_one_module_share_slots_safely(void **state) {
    (void)state;
    Program program = program_read("graph small {\n"
                                   "  %0 = constant {value = 1.0} : f32[2]\n"
                                   "  %1 = reduce_sum %0 {dims = [0]} : f32[]\n"
                                   "  output \"y\" = %1\n"
                                   "}\n"
                                   "graph large {\n"
                                   "  %0 = constant {value = 3.0} : f32[2, 3]\n"
                                   "  %1 = reduce_sum %0 {dims = [0]} : f32[3]\n"
                                   "  %2 = add %1, %1 : f32[3]\n"
                                   "  output \"y\" = %2\n"
                                   "}\n");
    for (int i = 0; i < 3; i++) {
        program_run(&program, "small");
        program_expect(&program, "y", VALUES(2));
        program_run(&program, "large");
        program_expect(&program, "y", VALUES(12, 12, 12));
    }
    program_free(&program);
}

static void repeated_runs_take_no_more_memory(void **state) {
    (void)state;
    Program program = program_read(scale_text);
    program_set(&program, "x", VALUES(3, -4));
    program_run(&program, "main");
    size_t used = arena_used(program.arena);
    for (int i = 0; i < 10; i++)
        program_run(&program, "main");
    assert_int_equal(arena_used(program.arena), used);
    program_free(&program);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_graph_computes_from_state_input_and_constant),
        cmocka_unit_test(unbound_states_are_zero),
        cmocka_unit_test(an_unbound_input_is_named_with_its_place),
        cmocka_unit_test(an_input_of_another_type_is_refused),
        cmocka_unit_test(an_input_may_change_its_type_between_runs),
        cmocka_unit_test(names_that_are_not_there_give_null),
        cmocka_unit_test(the_caller_keeps_the_tensor_it_binds),
        cmocka_unit_test(a_state_is_its_own_storage),
        cmocka_unit_test(graphs_of_one_module_share_slots_safely),
        cmocka_unit_test(repeated_runs_take_no_more_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
