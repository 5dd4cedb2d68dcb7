#include "runtime/cuda_error.h"

#include <stdio.h>

enum { PURPOSE_BYTES = 256 };

bool cuda_fail(Status *status, const char *call, const CudaPurpose *purpose, unsigned number, const char *name,
               const char *text) {
    char about[PURPOSE_BYTES] = "", place[PURPOSE_BYTES] = "";
    if (purpose->kernel)
        snprintf(about, sizeof about, " kernel %s", purpose->kernel);
    if (purpose->value || purpose->source)
        snprintf(place, sizeof place, " (%s%s%s)", purpose->value ? purpose->value : "",
                 purpose->value && purpose->source ? ", " : "", purpose->source ? purpose->source : "");
    if (!name)
        return status_fail(status, STATUS_SYSTEM, "%s, %s%s%s: error %u, which has no name", call, purpose->action,
                           about, place, number);
    return status_fail(status, STATUS_SYSTEM, "%s, %s%s%s: %s%s%s%s", call, purpose->action, about, place, name,
                       text ? " (" : "", text ? text : "", text ? ")" : "");
}
