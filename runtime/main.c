/* Entry point of every training executable: the generated source supplies the plan. */
#include "runtime/cpu.h"
#include "runtime/run.h"

int main(int argc, char **argv) {
    cpu_limit_spinning(argv);
    return run_executable(&moec_plan, argc, argv);
}
