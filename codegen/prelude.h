/* Parts of the text that every generated source starts with; codegen/prelude.c puts them in order. */
#ifndef MOEC_CODEGEN_PRELUDE_H
#define MOEC_CODEGEN_PRELUDE_H

/* Vectors as wide as the processor's, and products of small matrices in registers. */
extern const char prelude_vectors[], prelude_products[];
/* Of one block of attention. */
extern const char prelude_attention[];

#endif
