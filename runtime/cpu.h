/* The processor: whether it can run the kernels, which are compiled for the one that built them unless told otherwise,
   and how many threads do. */
#ifndef MOEC_RUNTIME_CPU_H
#define MOEC_RUNTIME_CPU_H

#include <stdbool.h>
#include <stdint.h>

#include "runtime/status.h"

/* Whether the processor has all of `features`, named as below; false where one is unknown. */
bool cpu_has(const char *features);

/* `features`: blank-separated names as cc's -m flags have them, "avx2 fma". */
bool cpu_check(const char *features, Status *status);

/* Makes waiting threads give up their core soon, unless the environment says how they wait: libgomp's spin for
   milliseconds at the end of every parallel region, and a step has thousands, so with one other busy process on the
   machine it would take several times as long. libgomp reads its settings before main, so this starts the program over,
   once, with the setting made; where that fails, it goes on as it is. */
void cpu_limit_spinning(char **argv);

/* How many cores' time a control group may use, rounded up; 0: it has no limit, or none that is in `folder`. In version
   1 of control groups, the limit stands in two files, in version 2 in one. */
int cpu_group_cores(const char *folder);

/* Sets how many threads kernels use; 0: OMP_NUM_THREADS, or as many as there are cores for this process and its control
   group: more would wait for each other. How many that is. */
int cpu_set_threads(int64_t n);

#endif
