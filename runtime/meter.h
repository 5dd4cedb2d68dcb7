/* Time, the machine's speed, and numbers as people read them. */
#ifndef MOEC_RUNTIME_METER_H
#define MOEC_RUNTIME_METER_H

#include <stddef.h>

/* Seconds of a clock that only goes forward. */
double meter_clock(void);

/* FLOP/s of products of [1024, 1024] matrices, the best of a few runs of moec's own and of OpenBLAS, whichever of them
   a run uses: what training's matrix products can reach at most. 0 when out of memory. Takes half a second on anything
   but the slowest machines. */
double meter_ceiling(void);

/* The same of bf16, which moec's own alone multiplies. */
double meter_ceiling_bf16(void);

/* Bytes/s that all threads move when they copy from one block to another, both far larger than caches: read and written
   bytes, the best of a few runs. 0 when out of memory. */
double meter_bandwidth(void);

/* "1.23 M", "45.6 G", "789": three digits and the SI prefix. The text is returned. */
const char *meter_count(char *text, size_t n, double value);
/* "1.23 GiB" */
const char *meter_bytes(char *text, size_t n, double value);
/* "0:37", "12:05", "3:07:00" */
const char *meter_duration(char *text, size_t n, double seconds);

#endif
