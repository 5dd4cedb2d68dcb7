/* What the files that find spaces share. */
#ifndef MOEC_IR_SPACE_INTERNAL_H
#define MOEC_IR_SPACE_INTERNAL_H

#include "ir/space.h"

/* The search under way: the first reason found stands. */
typedef struct {
    Arena *arena;
    const char *reason;
} SpaceFinder;

/* False. The reason starts with the node's op. */
bool space_refuse(SpaceFinder *at, const Node *node, const char *format, ...) __attribute__((format(printf, 3, 4)));

/* How an op takes part in a space of rows. */
typedef enum {
    PART_NONE,
    PART_MAP,
    PART_REDUCE,
    PART_ALONG_COLS,
    PART_GATHER,
    PART_ACCUMULATE,
    PART_UPDATE,
    PART_PAIRS /* turns halves of the columns */
} SpacePart;

SpacePart space_part_of(const Node *node);

/* Fills in the space of its nodes; n_rows and n_cols are given or 0. Products among them are there already. */
bool space_find_rows(SpaceFinder *at, Space *space);

/* A value that the block makes is read as it is made: each element by its own row and column. */
bool space_check_read(SpaceFinder *at, const Space *space, const Node *node, Value *value, Role role);

/* attention, attention_grad */
bool space_is_attention(const Node *node);
/* Fills in the space of nodes one of which is attention (space_attention.c). */
bool space_find_attention(SpaceFinder *at, Space *space, Node *const *nodes, size_t n);

#endif
