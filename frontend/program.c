#include "frontend/program.h"

#include <errno.h>
#include <string.h>

#include "frontend/expression.h"

/* Files that import each other are read once; this many are more than any model has. */
enum { MAX_FILES = 256 };

Symbol *program_find(const Program *program, const char *name) {
    size_t index;
    return names_find(&program->names, name, &index) ? program->symbols[index] : NULL;
}

const char **program_names(const Program *program, SymbolKind kind, size_t *n) {
    const char **names = arena_array_of(program->arena, const char *, program->n_symbols + 1);
    *n = 0;
    for (size_t i = 0; i < program->n_symbols; i++) {
        if (program->symbols[i]->kind == kind)
            names[(*n)++] = program->symbols[i]->name.text;
    }
    return names;
}

/* ---- Declaring ----------------------------------------------------------------------------------------------------
 */

static void declare(Program *program, Symbol symbol) {
    Symbol *other = program_find(program, symbol.name.text);
    if (other != NULL) {
        diagnostics_error(program->diagnostics, symbol.name.range, "'%s' is defined twice", symbol.name.text);
        diagnostics_note(program->diagnostics, other->name.range, "the first definition is here");
        return;
    }
    Symbol *added = arena_new_of(program->arena, Symbol);
    *added = symbol;
    names_add(&program->names, added->name.text, program->n_symbols);
    arena_push(program->arena, program->symbols, program->n_symbols, program->symbols_capacity, added);
}

static void declare_file(Program *program, const File *tree) {
    for (size_t i = 0; i < tree->n_constants; i++) {
        const Constant *constant = tree->constants[i];
        declare(program, (Symbol){.kind = constant->is_size ? SYMBOL_SIZE : SYMBOL_CONST,
                                  .name = constant->name,
                                  .value = constant->value});
    }
    for (size_t i = 0; i < tree->n_functions; i++)
        declare(program,
                (Symbol){.kind = SYMBOL_FUNCTION, .name = tree->functions[i]->name, .function = tree->functions[i]});
    for (size_t i = 0; i < tree->n_clauses; i++)
        arena_push(program->arena, program->clauses, program->n_clauses, program->clauses_capacity, tree->clauses[i]);
}

/* ---- Files --------------------------------------------------------------------------------------------------------
 */

/* `path` as an import in the file `from` means it. */
static const char *resolve_import(Arena *arena, const char *from, const char *path) {
    const char *slash = strrchr(from, '/');
    if (path[0] == '/' || slash == NULL)
        return path;
    return arena_printf(arena, "%.*s/%s", (int)(slash - from), from, path);
}

/* The index of the source at `path`, which is read if need be; false after an error. */
static bool import_source(Program *program, const char *path, Range range, bool *is_new, uint32_t *index) {
    Sources *sources = diagnostics_sources(program->diagnostics);
    *is_new = false;
    for (size_t i = 0; i < sources->n; i++) {
        if (strcmp(sources->items[i].path, path) == 0) {
            *index = (uint32_t)i;
            return true;
        }
    }
    char *text;
    size_t n_bytes;
    if (sources->n == MAX_FILES) {
        diagnostics_error(program->diagnostics, range, "a model can have %d files", MAX_FILES);
        return false;
    }
    if (!sources_read(program->arena, path, &text, &n_bytes)) {
        diagnostics_error(program->diagnostics, range, "cannot read %s: %s; an import is relative to the file it is in",
                          path, strerror(errno));
        return false;
    }
    *index = sources_add(program->arena, sources, path, text, n_bytes);
    *is_new = true;
    return true;
}

static bool load_file(Program *program, uint32_t file, bool is_model);

static bool load_imports(Program *program, uint32_t file, const File *tree) {
    bool is_good = true;
    for (size_t i = 0; i < tree->n_imports; i++) {
        const char *from = diagnostics_sources(program->diagnostics)->items[file].path;
        const char *path = resolve_import(program->arena, from, tree->imports[i].text);
        bool is_new;
        uint32_t index;
        if (!import_source(program, path, tree->imports[i].range, &is_new, &index) ||
            (is_new && !load_file(program, index, false)))
            is_good = false;
    }
    return is_good;
}

static bool load_file(Program *program, uint32_t file, bool is_model) {
    Parse parse = {0};
    bool is_good = parse_source(&parse, program->arena, program->diagnostics, file);
    const Word *name = &parse.tree->name;
    Range start = {.begin = {.file = file, .line = 1, .column = 1}, .end_line = 1, .end_column = 2};
    if (is_good && is_model && name->text == NULL) {
        diagnostics_error(program->diagnostics, start, "a model starts with `model NAME`");
        is_good = false;
    }
    if (is_good && !is_model && name->text != NULL) {
        diagnostics_error(program->diagnostics, name->range, "an imported file has no `model` line");
        is_good = false;
    }
    if (is_model)
        program->model = name->text;
    is_good = load_imports(program, file, parse.tree) && is_good;
    if (is_good)
        declare_file(program, parse.tree);
    return is_good;
}

static void check_overrides(Program *program) {
    for (size_t i = 0; i < program->options->n_overrides; i++) {
        const SizeOverride *override = &program->options->overrides[i];
        const Symbol *symbol = program_find(program, override->name);
        size_t n;
        const char **sizes = program_names(program, SYMBOL_SIZE, &n);
        if (symbol != NULL && symbol->kind == SYMBOL_CONST)
            diagnostics_error(program->diagnostics, (Range){0}, "-D %s=%lld: '%s' is a const, and -D sets sizes only",
                              override->name, (long long) override->value, override->name);
        else if (symbol == NULL || symbol->kind != SYMBOL_SIZE)
            diagnostics_error(program->diagnostics, (Range){0}, "-D %s=%lld: the model has no size '%s'%s",
                              override->name, (long long) override->value, override->name,
                              spelling_hint(program->arena, override->name, sizes, n));
    }
}

bool program_load(Program *program, uint32_t file) {
    program->names = (Names){.arena = program->arena};
    program->atoms = (SizeAtoms){.arena = program->arena};
    program->file = file;
    int before = diagnostics_errors(program->diagnostics);
    if (load_file(program, file, true))
        check_overrides(program);
    return diagnostics_errors(program->diagnostics) == before;
}

/* ---- Values -------------------------------------------------------------------------------------------------------
 */

static const SizeOverride *find_override(const Program *program, const char *name) {
    for (size_t i = program->options->n_overrides; i-- > 0;) {
        if (strcmp(program->options->overrides[i].name, name) == 0)
            return &program->options->overrides[i];
    }
    return NULL;
}

/* A size that a number or a division defines stands for itself; one made of other sizes stands for its definition. */
static bool evaluate_size(Program *program, Symbol *symbol) {
    const SizeOverride *override = find_override(program, symbol->name.text);
    Scalar scalar;
    if (override != NULL)
        scalar = (Scalar){.is_integer = true, .size = size_number(override->value)};
    else if (!expression_scalar(program, symbol->value, &scalar))
        return false;
    if (!scalar.is_integer) {
        diagnostics_error(program->diagnostics, symbol->value->range, "a size must be an integer, and this is %g",
                          scalar.number);
        return false;
    }
    if (scalar.size.value < 1 || scalar.size.value > MAX_ELEMENTS) {
        diagnostics_error(program->diagnostics, override != NULL ? symbol->name.range : symbol->value->range,
                          "size '%s' is %lld; it must be at least 1 and at most 2^%d", symbol->name.text,
                          (long long)scalar.size.value, MAX_ELEMENTS_LOG2);
        return false;
    }
    if (scalar.size.is_quotient || size_name(&program->atoms, &scalar.size) == NULL)
        scalar.size = size_atom(&program->atoms, symbol->name.text, scalar.size.value);
    scalar.number = (double)scalar.size.value;
    symbol->scalar = scalar;
    return true;
}

bool program_value(Program *program, Symbol *symbol, Scalar *out) {
    if (symbol->state == SYMBOL_ACTIVE) {
        diagnostics_error(program->diagnostics, symbol->name.range, "'%s' is defined by itself", symbol->name.text);
        symbol->state = SYMBOL_BROKEN;
    }
    if (symbol->state == SYMBOL_NEW) {
        symbol->state = SYMBOL_ACTIVE;
        bool is_good = symbol->kind == SYMBOL_SIZE ? evaluate_size(program, symbol)
                                                   : expression_scalar(program, symbol->value, &symbol->scalar);
        symbol->state = is_good ? SYMBOL_READY : SYMBOL_BROKEN;
    }
    *out = symbol->scalar;
    return symbol->state == SYMBOL_READY;
}
