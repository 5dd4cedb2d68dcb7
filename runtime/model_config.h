/* config.json: is it the model that the program was compiled for, and what it says once exported. */
#ifndef MOEC_RUNTIME_MODEL_CONFIG_H
#define MOEC_RUNTIME_MODEL_CONFIG_H

#include "runtime/json.h"
#include "runtime/plan.h"

/* Every key that the plan expects and `config` has must have the same value; a key that it lacks is taken as agreeing.
   With is_export the config is one that moec exported: keys that the export replaces are not compared, but those that
   say how tokens are routed must be the plan's. `path`: of config.json, for the message. */
bool model_config_check(const MoecPlan *plan, const json_t *config, const char *path, bool is_export, Status *status);

/* The config.json of an export: `dense` (or nothing, where it is NULL), completed by what the plan expects of the dense
   model, then overlaid with the plan's export_config and the dtype ("float32", "bfloat16"). Owned by the caller. */
json_t *model_config_export(const MoecPlan *plan, const json_t *dense, const char *dtype, Status *status);

#endif
