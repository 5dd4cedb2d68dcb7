/* Settings that are keys of a config.json: their values as JSON text. */
#ifndef MOEC_FRONTEND_CONFIG_H
#define MOEC_FRONTEND_CONFIG_H

#include "frontend/program.h"

/* Each setting of a checkpoint clause as an attribute of JSON text. False after an error. */
bool config_read_checkpoint(Program *program, const Clause *clause, Attrs *attrs);

/* Those of an export clause, with its renames and what its layout holds. `upcycle`: the attributes of the upcycle
   clause, which names in the values stand for; NULL where there is none. `is_known`: whether that clause is good; the
   names are poisoned if not. */
bool config_read_export(Program *program, const Clause *clause, const Attrs *upcycle, bool is_known, Attrs *attrs);

#endif
