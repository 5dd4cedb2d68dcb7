/* Products of warpgroups (wgmma): they read their operands, and their sums come, when a thread waits for their group.
   PTX ISA, "Asynchronous warpgroup level matrix instructions": matrix descriptors, which thread holds what. */
#include <stdlib.h>
#include <string.h>

#include "tests/simt/simt_internal.h"

enum { ROWS = 64, DEPTH = 16, MOST_COLUMNS = 256, WORD_BYTES = 4, N_GROUPS = 16 };

/* Where a warpgroup's threads have sums of products under way, with these. */
typedef struct Sums {
    float *at[SIMT_WARPGROUP];
    bool is_there[SIMT_WARPGROUP]; /* they came back to the thread */
    int n_columns, line;
    float *values;  /* [64, n_columns] */
    uint32_t group; /* of the newest product */
    struct Sums *next;
} Sums;

typedef struct Product {
    Sums *sums;
    uint64_t a, b;
    uint32_t registers[SIMT_WARPGROUP][4]; /* instead of a */
    const uint32_t *registers_at[SIMT_WARPGROUP];
    int flags, line;
    bool is_added, is_done;
    uint32_t group, serial;
    struct Product *next; /* issued after it */
} Product;

static struct {
    Sums *sums;
    Product *products, **last;
    uint32_t n_issued;
    uint32_t last_groups[N_GROUPS], serials[N_GROUPS]; /* of the newest groups, by their numbers: their last product */
} groups[SIMT_MAX_GROUPS];

/* When a thread last touched a word of its stack, in fences that it had passed. */
static uint32_t *touched;

static int group_of(int thread) {
    return thread / SIMT_WARPGROUP;
}

void simt_begin_products(void) {
    for (int i = 0; i < SIMT_MAX_GROUPS; i++) {
        for (Sums *sums = groups[i].sums, *next; sums; sums = next) {
            next = sums->next;
            free(sums->values);
            free(sums);
        }
        for (Product *product = groups[i].products, *next; product; product = next) {
            next = product->next;
            free(product);
        }
    }
    memset(groups, 0, sizeof groups);
    free(touched);
    touched = NULL;
}

/* ---- Descriptors ------------------------------------------------------------------------------------------------- */

/* What a descriptor says, its offsets in bytes. */
typedef struct {
    size_t start, leading, stride;
    bool is_transposed; /* rows run along the columns, not along k */
} Matrix;

static Matrix decode(uint64_t bits, bool is_transposed, const char *name, int line) {
    const uint64_t used = 0x3fff | (uint64_t)0x3fff << 16 | (uint64_t)0x3fff << 32 | (uint64_t)1 << 62;
    Matrix matrix = {(bits & 0x3fff) << 4, (bits >> 16 & 0x3fff) << 4, (bits >> 32 & 0x3fff) << 4, is_transposed};
    if ((bits & ~used) != 0 || bits >> 62 != 1)
        simt_fault(
            "moec_wgmma of line %d: %s's descriptor %llx is not one with a swizzle of 128 bytes and base offset 0",
            line, name, (unsigned long long)bits);
    if (matrix.stride % 1024 != 0 || (is_transposed && matrix.leading % 1024 != 0))
        simt_fault("moec_wgmma of line %d: %s's offsets %zu and %zu are no multiples of 1024 bytes", line, name,
                   matrix.leading, matrix.stride);
    if (matrix.start % 1024 >= (is_transposed ? 1u : 128u))
        simt_fault(
            "moec_wgmma of line %d: %s starts at byte %zu of shared memory, which is in no first row of a swizzle",
            line, name, matrix.start);
    return matrix;
}

/* Of eight elements that are next to each other: index 8 i of the row along which they run, of line j. */
static size_t chunk_at(const Matrix *matrix, int i, int j) {
    size_t byte = matrix->start;
    if (matrix->is_transposed)
        byte += (size_t)(i / 8) * matrix->leading + (size_t)(j / 8) * matrix->stride + (size_t)(j % 8) * 128 +
                (size_t)(i % 8) * SIMT_CHUNK;
    else
        byte += (size_t)(j / 8) * matrix->stride + (size_t)(j % 8) * 128 + (size_t)i * SIMT_CHUNK;
    return byte ^ (byte >> 3 & 0x70);
}

uint64_t simt_matrix_descriptor(const void *tile, int leading_bytes, int stride_bytes, int line) {
    size_t offset = simt_shared_offset(tile, SIMT_CHUNK);
    if (offset == SIZE_MAX || offset % SIMT_CHUNK != 0)
        simt_fault("moec_matrix_descriptor of line %d: the tile is at no multiple of 16 bytes in shared memory", line);
    if (leading_bytes < 0 || stride_bytes < 0 || leading_bytes % SIMT_CHUNK != 0 || stride_bytes % SIMT_CHUNK != 0 ||
        leading_bytes >> 18 != 0 || stride_bytes >> 18 != 0)
        simt_fault("moec_matrix_descriptor of line %d: offsets of %d and %d bytes", line, leading_bytes, stride_bytes);
    return (uint64_t)offset >> 4 | (uint64_t)leading_bytes >> 4 << 16 | (uint64_t)stride_bytes >> 4 << 32 |
           (uint64_t)1 << 62;
}

static float from_bf16(uint16_t half) {
    union {
        uint32_t bits;
        float number;
    } word = {(uint32_t)half << 16};
    return word.number;
}

/* Chunks of n rows and 16 k: along a row, then rows. */
static int chunks_of_row(const Matrix *matrix, int n) {
    return matrix->is_transposed ? n / 8 : DEPTH / 8;
}

static int lines_of(const Matrix *matrix, int n) {
    return matrix->is_transposed ? DEPTH : n;
}

static void check_matrix(const Matrix *matrix, int n, const SimtClocks *clocks, uint32_t serial, int line) {
    int group = group_of(simt.current->thread);
    for (int j = 0; j < lines_of(matrix, n); j++) {
        for (int i = 0; i < chunks_of_row(matrix, n); i++) {
            size_t offset = chunk_at(matrix, i, j);
            if (!simt_shared_at(offset, SIMT_CHUNK))
                simt_fault("moec_wgmma of line %d reads byte %zu of shared memory, which has %zu", line, offset,
                           simt.shared_bytes);
            SimtChunk *chunk = &simt.chunks[offset / SIMT_CHUNK];
            if (simt.keeps_clocks)
                simt_check_async_read(offset, clocks, "moec_wgmma", line);
            chunk->product_clocks[group] = serial;
            chunk->product_line = line;
        }
    }
}

/* As [n, 16]. */
static void read_matrix(const Matrix *matrix, int n, float (*to)[DEPTH]) {
    for (int j = 0; j < lines_of(matrix, n); j++) {
        for (int i = 0; i < chunks_of_row(matrix, n); i++) {
            const uint16_t *from = (const uint16_t *)(const void *)simt_shared_at(chunk_at(matrix, i, j), SIMT_CHUNK);
            for (int l = 0; l < 8; l++)
                *(matrix->is_transposed ? &to[i * 8 + l][j] : &to[j][i * 8 + l]) = from_bf16(from[l]);
        }
    }
}

/* ---- Registers --------------------------------------------------------------------------------------------------- */

/* Of register i of a thread's sums. */
static float *sum_of(const Sums *sums, int thread, int i) {
    int lane = thread % 32, row = thread / 32 * 16 + lane / 4 + i / 2 % 2 * 8,
        column = i / 4 * 8 + lane % 4 * 2 + i % 2;
    return &sums->values[row * sums->n_columns + column];
}

/* As moec_mma has them: rows lane / 4 and 8 more, columns lane % 4 * 2 and the next, and 8 more. */
static void read_registers(const Product *product, float (*to)[DEPTH]) {
    for (int thread = 0; thread < SIMT_WARPGROUP; thread++) {
        for (int i = 0; i < 4; i++) {
            int lane = thread % 32, row = thread / 32 * 16 + lane / 4 + i % 2 * 8, column = lane % 4 * 2 + i / 2 * 8;
            to[row][column] = from_bf16((uint16_t)product->registers[thread][i]);
            to[row][column + 1] = from_bf16((uint16_t)(product->registers[thread][i] >> 16));
        }
    }
}

static bool overlap(const char *x, size_t x_bytes, const char *y, size_t y_bytes) {
    return x < y + y_bytes && y < x + x_bytes;
}

static size_t stack_word(const char *address) {
    return (size_t)(address - simt.stacks) / WORD_BYTES;
}

static void check_registers(const char *address, size_t n_bytes, bool is_write) {
    const SimtFiber *own = simt.current;
    for (const Product *product = groups[group_of(own->thread)].products; product; product = product->next) {
        const char *at = (const char *)product->registers_at[own->thread % SIMT_WARPGROUP];
        if (at && product->group >= own->n_groups_waited && overlap(address, n_bytes, at, sizeof product->registers[0]))
            simt_fault("%s register %zu of moec_wgmma of line %d, whose group it has not waited for",
                       is_write ? "writes" : "reads", (size_t)(address - at) / WORD_BYTES, product->line);
    }
}

/* What products under way have is not to be looked at; what is touched needs a fence before the next product. */
void simt_touch_stack(const char *address, size_t n_bytes, bool is_write) {
    int thread = simt.current->thread;
    check_registers(address, n_bytes, is_write);
    for (const Sums *sums = groups[group_of(thread)].sums; sums; sums = sums->next) {
        int own = thread % SIMT_WARPGROUP;
        const char *at = (const char *)sums->at[own];
        if (!sums->is_there[own] && overlap(address, n_bytes, at, (size_t)sums->n_columns / 2 * sizeof(float)))
            simt_fault("%s sum %zu of moec_wgmma of line %d, whose group it has not waited for",
                       is_write ? "writes" : "reads", (size_t)(address - at) / sizeof(float), sums->line);
    }
    for (size_t i = 0; i < n_bytes && touched; i += WORD_BYTES)
        touched[stack_word(address + i)] = simt.current->n_fences + 1;
}

static void check_fenced(const void *registers, size_t n_bytes, const char *name, int line) {
    const SimtFiber *own = simt.current;
    if (own->n_fences == 0)
        simt_fault("moec_wgmma of line %d: there was no moec_wgmma_fence before", line);
    for (size_t i = 0; i < n_bytes && touched; i += WORD_BYTES) {
        const char *at = (const char *)registers + i;
        bool is_own = at >= simt.stacks + (size_t)own->thread * SIMT_STACK_BYTES &&
                      at < simt.stacks + (size_t)(own->thread + 1) * SIMT_STACK_BYTES;
        if (is_own && touched[stack_word(at)] > own->n_fences)
            simt_fault("moec_wgmma of line %d: %s %zu was touched after the last moec_wgmma_fence", line, name,
                       i / WORD_BYTES);
    }
}

/* ---- Issuing ----------------------------------------------------------------------------------------------------- */

/* Of the warpgroup that runs: those under way there, or what its threads have. */
static Sums *find_sums(const SimtFiber *group, int n_columns, int line) {
    int number = group_of(group->thread);
    for (Sums *sums = groups[number].sums; sums; sums = sums->next) {
        if (sums->at[0] == group[0].sums && sums->n_columns == n_columns && !sums->is_there[0])
            return sums;
        if (!sums->is_there[0] && overlap((const char *)sums->at[0], (size_t)sums->n_columns * 2,
                                          (const char *)group[0].sums, (size_t)n_columns * 2))
            simt_fault(
                "moec_wgmma of line %d: its sums are those of one of another shape, of line %d, that is under way",
                line, sums->line);
    }
    Sums *sums = calloc(1, sizeof *sums);
    sums->n_columns = n_columns;
    sums->values = malloc((size_t)n_columns * ROWS * sizeof(float));
    for (int thread = 0; thread < SIMT_WARPGROUP; thread++) {
        sums->at[thread] = group[thread].sums;
        for (int i = 0; i < n_columns / 2; i++)
            *sum_of(sums, thread, i) = group[thread].sums[i];
    }
    sums->next = groups[number].sums;
    groups[number].sums = sums;
    return sums;
}

static void poison(const SimtFiber *group, int n) {
    const uint32_t bits = (uint32_t)SIMT_POISON << 16 | SIMT_POISON;
    for (int thread = 0; thread < SIMT_WARPGROUP; thread++) {
        for (int i = 0; i < n; i++)
            memcpy(&group[thread].sums[i], &bits, sizeof bits);
    }
}

static void check_operands(const Product *product, int n_columns) {
    SimtClocks clocks = simt.common = simt_clocks_new(); /* freed with the launch, should this not return */
    simt_order_common(group_of(simt.current->thread), &clocks);
    if (!(product->flags & SIMT_A_IN_REGISTERS)) {
        Matrix a = decode(product->a, product->flags & SIMT_A_TRANSPOSED, "a", product->line);
        check_matrix(&a, ROWS, &clocks, product->serial, product->line);
    }
    Matrix b = decode(product->b, product->flags & SIMT_B_TRANSPOSED, "b", product->line);
    check_matrix(&b, n_columns, &clocks, product->serial, product->line);
    simt_clocks_free(&simt.common);
}

/* All threads of the warpgroup are here. */
static void issue(int n_columns, int flags, int line) {
    SimtFiber *group = simt.fibers + group_of(simt.current->thread) * SIMT_WARPGROUP;
    int number = group_of(group->thread);
    for (int i = 1; i < SIMT_WARPGROUP; i++) {
        if (group[i].a != group->a || group[i].b != group->b || group[i].value != group->value ||
            group[i].product_group != group->product_group)
            simt_fault("moec_wgmma of line %d: threads %d and %d have other descriptors, or other groups before", line,
                       group->thread, group[i].thread);
    }
    Product *product = calloc(1, sizeof *product);
    *(groups[number].products ? groups[number].last : &groups[number].products) = product;
    groups[number].last = &product->next;
    product->a = group->a;
    product->b = group->b;
    product->flags = flags;
    product->line = line;
    product->is_added = group->value != 0;
    product->group = group->product_group;
    product->serial = ++groups[number].n_issued;
    groups[number].last_groups[product->group % N_GROUPS] = product->group + 1;
    groups[number].serials[product->group % N_GROUPS] = product->serial;
    for (int i = 0; i < SIMT_WARPGROUP && (flags & SIMT_A_IN_REGISTERS); i++) {
        memcpy(product->registers[i], group[i].lhs, sizeof product->registers[i]);
        product->registers_at[i] = group[i].lhs;
    }
    check_operands(product, n_columns);
    product->sums = find_sums(group, n_columns, line);
    product->sums->line = line;
    product->sums->group = product->group;
    poison(group, n_columns / 2);
}

void simt_wgmma(int n_columns, int flags, float *sums, uint64_t a, const uint32_t *registers, uint64_t b, int is_added,
                int line) {
    SimtFiber *own = simt.current;
    simt_keep_clocks();
    simt_use_chunks();
    check_fenced(sums, (size_t)n_columns / 2 * sizeof(float), "sum", line);
    if (registers)
        check_fenced(registers, 4 * sizeof *registers, "register", line);
    own->sums = sums;
    own->a = a;
    own->b = b;
    own->lhs = registers;
    own->value = is_added != 0;
    own->argument = n_columns * 8 + flags;
    if (!simt_meet_in_warpgroup(SIMT_WARPGROUP_PRODUCT, line))
        return;
    issue(n_columns, flags, line);
    simt_release_warpgroup();
}

void simt_wgmma_fence(int line) {
    (void)line;
    if (!touched && simt.is_checked)
        touched = calloc((size_t)simt.launch->n_threads * SIMT_STACK_BYTES / WORD_BYTES, sizeof *touched);
    simt.current->n_fences++;
}

void simt_wgmma_commit(int line) {
    (void)line;
    simt.current->product_group++;
}

void simt_wgmma_hold(const float *sums, int n, int line) {
    int thread = simt.current->thread;
    for (const Sums *own = groups[group_of(thread)].sums; own; own = own->next) {
        int lane = thread % SIMT_WARPGROUP;
        if (!own->is_there[lane] && overlap((const char *)sums, (size_t)n * sizeof(float), (const char *)own->at[lane],
                                            (size_t)own->n_columns * 2))
            simt_fault(
                "moec_wgmma_hold of line %d: of sums of moec_wgmma of line %d, whose group it has not waited for", line,
                own->line);
    }
}

/* ---- Waiting ----------------------------------------------------------------------------------------------------- */

static void multiply(const Product *product) {
    static float a[ROWS][DEPTH], b[MOST_COLUMNS][DEPTH];
    int n_columns = product->sums->n_columns;
    Matrix right = decode(product->b, product->flags & SIMT_B_TRANSPOSED, "b", product->line);
    read_matrix(&right, n_columns, b);
    if (product->flags & SIMT_A_IN_REGISTERS) {
        read_registers(product, a);
    } else {
        Matrix left = decode(product->a, product->flags & SIMT_A_TRANSPOSED, "a", product->line);
        read_matrix(&left, ROWS, a);
    }
    for (int i = 0; i < ROWS; i++) {
        for (int j = 0; j < n_columns; j++) {
            float *at = &product->sums->values[i * n_columns + j], sum = product->is_added ? *at : 0.0f;
            for (int k = 0; k < DEPTH; k++)
                sum += a[i][k] * b[j][k];
            *at = sum;
        }
    }
}

/* Of all groups below, in order. */
static void run_products(int number, int64_t end) {
    for (Product *product = groups[number].products; product && (int64_t)product->group < end;
         product = product->next) {
        if (!product->is_done)
            multiply(product);
        product->is_done = true;
    }
}

/* Those that all threads of the warpgroup have waited for. */
static void forget_products(int number) {
    const SimtFiber *group = simt.fibers + number * SIMT_WARPGROUP;
    uint32_t end = UINT32_MAX;
    for (int i = 0; i < SIMT_WARPGROUP; i++)
        end = group[i].n_groups_waited < end ? group[i].n_groups_waited : end;
    while (groups[number].products && groups[number].products->group < end) {
        Product *product = groups[number].products;
        groups[number].products = product->next;
        free(product);
    }
}

/* The thread gets its sums; those that all threads have are forgotten. */
static void give_sums(int number, int64_t end) {
    int own = simt.current->thread % SIMT_WARPGROUP;
    for (Sums **link = &groups[number].sums; *link;) {
        Sums *sums = *link;
        bool are_given = (int64_t)sums->group < end;
        for (int i = 0; i < sums->n_columns / 2 && are_given && !sums->is_there[own]; i++)
            sums->at[own][i] = *sum_of(sums, own, i);
        sums->is_there[own] = are_given || sums->is_there[own];
        for (int i = 0; i < SIMT_WARPGROUP; i++)
            are_given = are_given && sums->is_there[i];
        if (!are_given) {
            link = &sums->next;
            continue;
        }
        *link = sums->next;
        free(sums->values);
        free(sums);
    }
}

void simt_wgmma_wait(int n, int line) {
    SimtFiber *own = simt.current;
    int number = group_of(own->thread);
    int64_t end = (int64_t)own->product_group - n;
    if (n < 0 || n > 7)
        simt_fault("MOEC_WGMMA_WAIT of line %d: for all but %d", line, n);
    if (end > (int64_t)own->n_groups_waited)
        own->n_groups_waited = (uint32_t)end;
    run_products(number, end);
    forget_products(number);
    give_sums(number, end);
    for (int i = 0; i < N_GROUPS; i++) {
        if (groups[number].last_groups[i] > 0 && (int64_t)groups[number].last_groups[i] <= end)
            simt_order_learn(own->thread, simt_group_agent(number), groups[number].serials[i]);
    }
}

void simt_check_products(void) {
    int thread = simt.current->thread;
    for (const Sums *sums = groups[group_of(thread)].sums; sums; sums = sums->next) {
        if (!sums->is_there[thread % SIMT_WARPGROUP])
            simt_fault("ends before moec_wgmma of line %d is done: MOEC_WGMMA_WAIT(0) is missing, or moec_wgmma_commit",
                       sums->line);
    }
}
