/* What the printers of the IR, its reader and the C backend share. */
#ifndef MOEC_IR_TEXT_H
#define MOEC_IR_TEXT_H

#include "ir/ir.h"

#define TEXT_NAME_CHARACTERS "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_"

/* A name as the text form writes it without quotes. */
bool text_is_name(const char *text);

/* The shortest text that reads back to the same double, always with a point or an exponent; "nan", "inf", "-inf". */
void text_print_float(FILE *out, double value);
/* The value of an attribute; what a string looks like, and floats that are no numbers, is up to the format. */
void text_print_attr_value(FILE *out, const Attr *attr, void (*string_printer)(FILE *, const char *),
                           void (*float_printer)(FILE *, double));
/* "%12" or "%x.12"; the graph must be numbered. */
void text_print_value(FILE *out, const Value *value);

#endif
