/* Training executables as people run them, in the test's own process, on plans of the test. */
#ifndef MOEC_TESTS_SUPPORT_RUNTIME_RUN_H
#define MOEC_TESTS_SUPPORT_RUNTIME_RUN_H

#include "runtime/plan.h"
#include "tests/support_runtime/folder.h"

/* The exit code of the arguments, in which % stands for the folder; what was printed goes to out.txt and err.txt. */
int run_plan(Folder *folder, const MoecPlan *plan, const char *arguments);

/* The file has that part. */
void expect_text(Folder *folder, const char *file, const char *part);
/* Else what is in err.txt is shown. */
void expect_code(Folder *folder, int code, int expected);
void expect_same_files(Folder *folder, const char *a, const char *b);
void expect_same_checkpoints(Folder *folder, const char *a, const char *b);

/* n ids that go 1, 2, .. 9, 1, ..: headerless. */
void write_tokens(Folder *folder, const char *name, size_t n);
/* The same, with one other id somewhere. */
void write_tokens_with(Folder *folder, const char *name, size_t n, size_t at, uint16_t id);

#endif
