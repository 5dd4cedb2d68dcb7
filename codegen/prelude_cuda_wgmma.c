/* Products of a warpgroup's, four warps the first of which has a number that four divides, in CUDA C: wgmma of bf16 to
   f32 on sm_90a. PTX ISA, "Asynchronous warpgroup level matrix instructions"; where the text is compiled for something
   else than a GPU, that defines the names (tests/simt/simt_async.h).

       moec_wgmma_n128(sums, a, b, is_added)    sums[64, 128] = a[64, 16] b[128, 16]^T, added to what was there or not

   Of these sums lane l of warp w has in 4 j and 4 j + 1 columns 8 j + l % 4 * 2 and the next of row 16 w + l / 4, in
   4 j + 2 and 4 j + 3 those of row 16 w + l / 4 + 8. Operands are tiles in shared memory by their descriptors: rows of
   16 along k, or with _ta and _tb rows along 64 of a or N of b; with _ra, a is in registers, as moec_mma has it. Sums
   and such registers are the product's until MOEC_WGMMA_WAIT. */
#include "codegen/form_cuda_internal.h"

static const int widths[] = {8, 16, 32, 64, 96, 128, 160, 192, 224, 256};

typedef struct {
    const char *suffix;
    bool has_registers;
    const char *transposes; /* the operands in shared memory */
} Way;

static const Way ways[] = {
    {"", false, "0, 0"},      {"_ta", false, "1, 0"}, {"_tb", false, "0, 1"},
    {"_tatb", false, "1, 1"}, {"_ra", true, "0"},     {"_ra_tb", true, "1"},
};

static const char groups[] =
    "\n"
    "#ifdef __CUDA_ARCH_FEAT_SM90_ALL\n"
    "/* Of a tile, swizzled by 128 bytes, that starts at a multiple of 1024 bytes, or of 16 k further on. Of rows "
    "along k:\n"
    "   stride_bytes from 8 of them to the next 8, leading_bytes 0. Of others: stride_bytes from 8 k to the next 8,\n"
    "   leading_bytes from 64 columns to the next 64. */\n"
    "MOEC_DEVICE uint64_t moec_matrix_descriptor(const void *tile, int leading_bytes, int stride_bytes) {\n"
    "    return (uint64_t)(moec_shared_address(tile) >> 4 & 0x3fff) | (uint64_t)(leading_bytes >> 4) << 16 |\n"
    "           (uint64_t)(stride_bytes >> 4) << 32 | (uint64_t)1 << 62;\n"
    "}\n"
    "\n"
    "/* Before the first product, and the first one after registers that products use were touched. */\n"
    "MOEC_DEVICE void moec_wgmma_fence(void) {\n"
    "    asm volatile(\"wgmma.fence.sync.aligned;\" ::: \"memory\");\n"
    "}\n"
    "\n"
    "/* The products since become a group. */\n"
    "MOEC_DEVICE void moec_wgmma_commit(void) {\n"
    "    asm volatile(\"wgmma.commit_group.sync.aligned;\" ::: \"memory\");\n"
    "}\n"
    "\n"
    "/* For all groups but the newest n. */\n"
    "#define MOEC_WGMMA_WAIT(n) asm volatile(\"wgmma.wait_group.sync.aligned %0;\" :: \"n\"(n) : \"memory\")\n"
    "\n"
    "/* After waiting: nothing that is done with these n sums is moved to before. */\n"
    "MOEC_DEVICE void moec_wgmma_hold(float *sums, int n) {\n"
    "    #pragma unroll\n"
    "    for (int i = 0; i < n; i++)\n"
    "        asm volatile(\"\" : \"+f\"(sums[i]) :: \"memory\");\n"
    "}\n";

/* `%0, %1, ..` */
static void print_numbers(FILE *out, int first, int n) {
    for (int i = 0; i < n; i++)
        fprintf(out, "%s%%%d", i > 0 ? ", " : "", first + i);
}

static void print_product(FILE *out, int width, const Way *way) {
    int n_sums = width / 2, n_a = way->has_registers ? 4 : 1;
    fprintf(out, "\nMOEC_DEVICE void moec_wgmma_n%d%s(float *sums, %s, uint64_t b, int is_added) {\n", width,
            way->suffix, way->has_registers ? "const uint32_t *a" : "uint64_t a");
    fprintf(out, "    asm volatile(\"{\\n.reg .pred p;\\nsetp.ne.b32 p, %%%d, 0;\\n\"\n", n_sums + n_a + 1);
    fprintf(out, "                 \"wgmma.mma_async.sync.aligned.m64n%dk16.f32.bf16.bf16 {", width);
    print_numbers(out, 0, n_sums);
    fputs(way->has_registers ? "}, {" : "}, ", out);
    print_numbers(out, n_sums, n_a);
    fprintf(out, "%s, %%%d, p, 1, 1, %s;\\n}\"\n                 : ", way->has_registers ? "}" : "", n_sums + n_a,
            way->transposes);
    for (int i = 0; i < n_sums; i++)
        fprintf(out, "%s\"+f\"(sums[%d])", i > 0 ? ", " : "", i);
    fputs(way->has_registers ? "\n                 : \"r\"(a[0]), \"r\"(a[1]), \"r\"(a[2]), \"r\"(a[3])"
                             : "\n                 : \"l\"(a)",
          out);
    fputs(", \"l\"(b), \"r\"(is_added) : \"memory\");\n}\n", out);
}

void cuda_print_prelude_wgmma(FILE *out) {
    fputs(groups, out);
    for (size_t i = 0; i < sizeof widths / sizeof *widths; i++) {
        for (size_t j = 0; j < sizeof ways / sizeof *ways; j++)
            print_product(out, widths[i], &ways[j]);
    }
    fputs("#endif\n", out);
}
