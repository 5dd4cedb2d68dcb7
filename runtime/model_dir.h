/* A Hugging Face model directory, opened for reading: config.json, one or several safetensors files, and the small
   files (tokenizer and the like) that travel with the weights. */
#ifndef MOEC_RUNTIME_MODEL_DIR_H
#define MOEC_RUNTIME_MODEL_DIR_H

#include "runtime/safetensors.h"

/* What an export carries over from the checkpoint that training began with: held in memory, for the directory may be
   gone by then. */
typedef struct {
    char *name;
    char *bytes;
    size_t n_bytes;
} SideFile;

typedef struct {
    json_t *config; /* NULL: none, training started without a checkpoint */
    SideFile *files;
    size_t n_files;
} ModelExtras;

void model_extras_free(ModelExtras *extras);

typedef struct {
    const SafetensorsFile *file;
    const SafetensorsEntry *entry;
} TensorRef;

typedef struct {
    char *path;
    ModelExtras extras;
    SafetensorsFile *files;
    size_t n_files;
    TensorRef *tensors; /* of all files, sorted by name */
    size_t n_tensors;
} ModelDir;

/* Opens model.safetensors, or the shards that model.safetensors.index.json lists, and reads config.json (which may be
   missing). On failure `dir` holds nothing. */
bool model_dir_open(ModelDir *dir, const char *path, Status *status);

/* The tensors of one safetensors file and nothing else. */
bool model_dir_open_file(ModelDir *dir, const char *path, Status *status);

void model_dir_close(ModelDir *dir);

/* NULL: no such tensor. */
const TensorRef *model_dir_find(const ModelDir *dir, const char *name);

/* Moves the extras out of `dir`, which may then be closed; the caller frees them. */
ModelExtras model_dir_take_extras(ModelDir *dir);

#endif
