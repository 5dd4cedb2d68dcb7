/* What the files of routes share. */
#ifndef MOEC_CODEGEN_FORM_ROUTE_H
#define MOEC_CODEGEN_FORM_ROUTE_H

#include "codegen/form.h"

/* A route without results. */
FormRoute form_route_new(void);
const char *form_route_word(FormRouteResult result);
int64_t form_n_slots(const Form *form);
/* Whether the scores are rows of an argument, evenly apart, and the body does nothing else. */
bool form_loads_scores(const Form *form);

/* The lines behind the body. */
void form_print_route_lines(FILE *out, const Form *form);
/* NULL, or what is wrong with what is said of the route, without the form's name. */
const char *form_check_route(Arena *arena, const Form *form);
/* Writes the results. Scores: [n_rows, n_cols], or NULL where experts are given. */
void form_interpret_route(Arena *arena, const Form *form, double *const *args, const double *scores);

#endif
