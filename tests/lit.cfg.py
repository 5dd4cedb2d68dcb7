# Configuration of LLVM's lit, which runs every file with a RUN line below tests/. `make test` calls it.
import os
import lit.formats

root = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
out = os.path.abspath(os.environ.get("MOEC_OUT", os.path.join(root, "build/release")))

config.name = "moec"
config.test_format = lit.formats.ShTest(execute_external=True)
config.suffixes = [".moe", ".ir", ".c", ".test"]
config.excludes = ["Inputs", "tools", "support", "fuzz", "bench", "gpu"]
config.test_source_root = os.path.join(root, "tests")
config.test_exec_root = os.path.join(out, "tests")
config.environment["OMP_WAIT_POLICY"] = "passive"
for name in ("ASAN_OPTIONS", "UBSAN_OPTIONS", "HOME", "OMP_NUM_THREADS"):
    if name in os.environ:
        config.environment[name] = os.environ[name]
config.environment["PATH"] = os.pathsep.join([out, "/usr/lib/llvm-14/bin", os.environ["PATH"]])

# moec: the compiler under test. FileCheck: LLVM's. %unit: the C test's own binary, built from the file (cmocka).
config.substitutions.append(("%unit", os.path.join(out, "tests/units/run") + " %s"))
config.substitutions.append(("%root", root))
config.substitutions.append(("%out", out))
