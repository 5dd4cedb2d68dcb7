/* FNV-1a (Fowler, Noll, Vo) of 128 bits over what a plan computes. */
#include <string.h>

#include "codegen/plan.h"

__extension__ typedef unsigned __int128 Hash;

static const Hash OFFSET_BASIS = (Hash)0x6c62272e07bb0142 << 64 | 0x62b821756295c58d;
static const Hash PRIME = (Hash)1 << 88 | 0x13b;

static void add_bytes(Hash *hash, const void *bytes, size_t n) {
    const unsigned char *at = bytes;
    for (size_t i = 0; i < n; i++)
        *hash = (*hash ^ at[i]) * PRIME;
}

/* With its end, so that "ab", "c" differs from "a", "bc". */
static void add_text(Hash *hash, const char *text) {
    add_bytes(hash, text, strlen(text) + 1);
}

/* Little-endian on every machine. */
static void add_number(Hash *hash, int64_t number) {
    unsigned char bytes[8];
    for (int i = 0; i < 8; i++)
        bytes[i] = (unsigned char)((uint64_t)number >> 8 * i);
    add_bytes(hash, bytes, sizeof bytes);
}

static void add_type(Hash *hash, const Type *type) {
    add_text(hash, dtype_name(type->dtype));
    add_number(hash, type->rank);
    for (int i = 0; i < type->rank; i++)
        add_number(hash, type->dims[i].extent);
}

static void add_address(Hash *hash, PlanAddress address) {
    add_number(hash, address.space);
    add_number(hash, address.offset);
}

static void add_tensors(Hash *hash, const PlanTensor *tensors, size_t n) {
    add_number(hash, (int64_t)n);
    for (size_t i = 0; i < n; i++) {
        add_text(hash, tensors[i].name);
        add_type(hash, tensors[i].type);
        add_address(hash, tensors[i].at);
    }
}

static void add_program(Hash *hash, const PlanProgram *program) {
    add_text(hash, program->graph->name);
    add_number(hash, (int64_t)program->n_launches);
    for (size_t i = 0; i < program->n_launches; i++) {
        const PlanLaunch *launch = &program->launches[i];
        add_number(hash, launch->kernel);
        add_number(hash, (int64_t)launch->n_args);
        for (size_t j = 0; j < launch->n_args; j++)
            add_address(hash, program->args[launch->first_arg + j]);
    }
    add_tensors(hash, program->inputs, program->n_inputs);
    add_tensors(hash, program->outputs, program->n_outputs);
}

char *plan_hash(Arena *arena, const Plan *plan) {
    Hash hash = OFFSET_BASIS;
    add_text(&hash, plan->module->name);
    for (size_t i = 0; i < kernels_count(plan->kernels); i++)
        add_text(&hash, kernels_get(plan->kernels, i)->key);
    for (size_t i = 0; i < plan->n_programs; i++)
        add_program(&hash, &plan->programs[i]);
    for (size_t i = 0; i < plan->n_weights; i++) {
        add_text(&hash, plan->weights[i].state->name);
        add_type(&hash, &plan->weights[i].state->type);
        add_number(&hash, plan->weights[i].offset);
    }
    return arena_printf(arena, "%016llx%016llx", (unsigned long long)(hash >> 64), (unsigned long long)hash);
}
