/* Routing. Experts that are out of range, which no router gives, are dropped. */
#include "codegen/lower.h"

/* As many rows at a time as a vector has lanes, a lane to each: an element is exchanged with the first of the k largest
   so far that is less, the one pushed out with the next, and so on. Nothing branches on the data. Of equals the earlier
   one stays in front. */
static const char top_k[] =
    "for (int64_t first = 0; first < n_rows; first += MOEC_LANES) {\n"
    "    int n_lanes = n_rows - first < MOEC_LANES ? n_rows - first : MOEC_LANES;\n"
    "    MoecIntegers largest[k] = {{0}}, places[k] = {{0}}; /* the bits of values; their indices */\n"
    "    for (int64_t start = 0; start < width; start += COLUMNS) {\n"
    "        int n_columns = width - start < COLUMNS ? width - start : COLUMNS;\n"
    "        float columns[COLUMNS][MOEC_LANES] MOEC_ALIGNED;\n"
    "        moec_transpose(columns[0], MOEC_LANES, x + first * width + start, width, n_lanes, n_columns, 1.0f);\n"
    "        for (int j = 0; j < n_columns; j++) {\n"
    "            MoecVector value = *(const MoecVector *)columns[j];\n"
    "            MoecIntegers bits = (MoecIntegers)value, place = (MoecIntegers){0} + (int32_t)(start + j);\n"
    "            MoecIntegers moves = {0};\n"
    "            for (int i = 0; i < k; i++) {\n"
    "                moves |= value > (MoecVector)largest[i];\n"
    "                if (i >= start + j) /* still empty */\n"
    "                    moves = (MoecIntegers){0} - 1;\n"
    "                moec_exchange(moves, &bits, &largest[i]);\n"
    "                moec_exchange(moves, &place, &places[i]);\n"
    "            }\n"
    "        }\n"
    "    }\n"
    "    for (int lane = 0; lane < n_lanes; lane++) {\n"
    "        for (int i = 0; i < k; i++) {\n"
    "            values[(first + lane) * k + i] = ((MoecVector)largest[i])[lane];\n"
    "            indices[(first + lane) * k + i] = places[i][lane];\n"
    "        }\n"
    "    }\n"
    "}\n";

void lower_top_k(CPrinter *c, const Node *node) {
    const Type *x = lower_operand_type(node, 0);
    int64_t width = type_extent(x, -1);
    c_pointers(c, node, (const char *const[]){"values", "indices", "x"});
    c_constants(c, (const CConstant[]){{"n_rows", type_n_elements(x) / width},
                                       {"width", width},
                                       {"k", attrs_int(&node->attrs, "k", 1)},
                                       {"COLUMNS", width < 64 ? width : 64},
                                       {NULL, 0}});
    c_parallel(c, node_flops(node), "");
    c_text(c, top_k);
}

void lower_histogram(CPrinter *c, const Node *node) {
    c_pointers(c, node, (const char *const[]){"counts", "indices"});
    c_constants(c, (const CConstant[]){{"n_indices", type_n_elements(lower_operand_type(node, 0))},
                                       {"n_bins", attrs_int(&node->attrs, "bins", 0)},
                                       {NULL, 0}});
    c_text(c, "memset(counts, 0, sizeof(float) * n_bins);\n"
              "for (int64_t i = 0; i < n_indices; i++) {\n"
              "    if (indices[i] >= 0 && indices[i] < n_bins)\n"
              "        counts[indices[i]] += 1.0f;\n"
              "}\n");
}

/* Counts first: expert e's rows start where those of the experts before it end. Then each slot takes its expert's next
   row, if the expert has one left. */
void lower_route(CPrinter *c, const Node *node) {
    c_pointers(c, node, (const char *const[]){"offsets", "slot_of_row", "row_of_slot", "experts"});
    c_constants(c, (const CConstant[]){{"n_slots", type_n_elements(lower_operand_type(node, 0))},
                                       {"n_rows", type_n_elements(&node->results[1].type)},
                                       {"n_experts", attrs_int(&node->attrs, "experts", 0)},
                                       {"capacity", attrs_int(&node->attrs, "capacity", 0)},
                                       {NULL, 0}});
    c_text(c, "memset(offsets, 0, sizeof(int32_t) * (n_experts + 1));\n"
              "for (int64_t slot = 0; slot < n_slots; slot++) {\n"
              "    int32_t e = experts[slot];\n"
              "    if (e >= 0 && e < n_experts && (capacity == 0 || offsets[e + 1] < capacity))\n"
              "        offsets[e + 1]++;\n"
              "}\n"
              "int32_t next[n_experts]; /* row of each expert */\n"
              "for (int64_t e = 0; e < n_experts; e++) {\n"
              "    next[e] = offsets[e];\n"
              "    offsets[e + 1] += offsets[e];\n"
              "}\n"
              "for (int64_t slot = 0; slot < n_slots; slot++) {\n"
              "    int32_t e = experts[slot];\n"
              "    int is_kept = e >= 0 && e < n_experts && next[e] < offsets[e + 1];\n"
              "    row_of_slot[slot] = is_kept ? next[e]++ : -1;\n"
              "    if (is_kept)\n"
              "        slot_of_row[row_of_slot[slot]] = (int32_t)slot;\n"
              "}\n"
              "for (int64_t row = offsets[n_experts]; row < n_rows; row++)\n"
              "    slot_of_row[row] = -1;\n");
}

/* How many slots share a row of the dense side. */
static int64_t slots_per_source(const Node *node) {
    return attrs_bool(&node->attrs, "per_slot", false) ? 1 : type_extent(lower_operand_type(node, 2), -1);
}

void lower_dispatch(CPrinter *c, const Node *node) {
    const Type *result = &node->results[0].type;
    int64_t width = type_span(result, 1, result->rank);
    c_pointers(c, node, (const char *const[]){"out", "x", "slot_of_row", NULL});
    c_constants(c, (const CConstant[]){{"n_rows", result->dims[0].extent},
                                       {"slots_per_source", slots_per_source(node)},
                                       {"width", width},
                                       {NULL, 0}});
    c_parallel(c, (double)type_n_elements(result), "");
    c_open(c, "for (int64_t row = 0; row < n_rows; row++)");
    c_line(c, "int64_t source = slot_of_row[row] / slots_per_source;");
    c_line(c, "if (slot_of_row[row] >= 0)");
    c_line(c, "    memcpy(out + row * width, x + source * width, sizeof(%s) * width);", c_type(result->dtype));
    c_close(c);
}

void lower_combine(CPrinter *c, const Node *node) {
    const Type *result = &node->results[0].type, *y = lower_operand_type(node, 0);
    int64_t width = type_span(y, 1, y->rank);
    c_pointers(c, node, (const char *const[]){"out", "y", NULL, "row_of_slot"});
    c_constants(c, (const CConstant[]){{"n_sources", type_n_elements(result) / width},
                                       {"slots_per_source", slots_per_source(node)},
                                       {"width", width},
                                       {NULL, 0}});
    c_parallel(c, (double)type_n_elements(result) * (double)slots_per_source(node), "");
    c_text(c, "for (int64_t source = 0; source < n_sources; source++) {\n"
              "    float *sum = out + source * width;\n"
              "    memset(sum, 0, sizeof(float) * width);\n"
              "    for (int64_t slot = source * slots_per_source; slot < (source + 1) * slots_per_source; slot++) {\n"
              "        int64_t row = row_of_slot[slot];\n"
              "        if (row < 0)\n"
              "            continue;\n"
              "        #pragma omp simd\n"
              "        for (int64_t i = 0; i < width; i++)\n"
              "            sum[i] += y[row * width + i];\n"
              "    }\n"
              "}\n");
}
