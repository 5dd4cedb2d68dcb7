/* Entry point of every training executable: the generated source supplies the plan. */
#include "runtime/run.h"

int main(int argc, char **argv) {
    return run_executable(&moec_plan, argc, argv);
}
