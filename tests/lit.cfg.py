# Configuration of LLVM's lit, which runs every file with a RUN line below tests/. `make check` and `make test` call it.
import glob
import os
import lit.formats

root = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
out = os.path.abspath(os.environ.get("MOEC_OUT", os.path.join(root, "build/release")))

config.name = "moec"
config.test_format = lit.formats.ShTest(execute_external=True)
config.suffixes = [".moe", ".ir", ".c", ".test"]
config.excludes = [
    "Inputs",
    "corpus",
    "tools",
    "support",
    "support_runtime",
    "fake_cuda",
    "sim_cuda",
    "simt",
    "bench",
    "gpu",
]
config.test_source_root = os.path.join(root, "tests")
config.test_exec_root = os.path.join(out, "tests")
# Several tests run at once: threads that spin while they wait would take each other's cores.
config.environment["OMP_WAIT_POLICY"] = "passive"
for name in ("ASAN_OPTIONS", "UBSAN_OPTIONS", "HOME", "OMP_NUM_THREADS", "FUZZ_SECONDS", "FUZZ_SEED", "CC"):
    if name in os.environ:
        config.environment[name] = os.environ[name]
# moec: the compiler under test. FileCheck: LLVM's.
config.environment["PATH"] = os.pathsep.join([out, "/usr/lib/llvm-14/bin", os.environ["PATH"]])

# %unit: a C test's own program (cmocka), %fuzz: a fuzzer's, both built from the file with the RUN line.
config.substitutions.append(("%unit", os.path.join(out, "tests/units/run") + " %s"))
config.substitutions.append(
    ("%fuzz", os.path.join(root, "tests/tools/run-fuzzer") + " " + os.path.join(out, "fuzz") + " %s")
)
config.substitutions.append(("%root", root))
config.substitutions.append(("%out", out))
# The CUDA toolkit's headers and NVRTC, which no build needs.
cuda = os.environ.get("CUDA_HOME") or "/usr/local/cuda"
config.environment["CUDA_HOME"] = cuda
config.substitutions.append(("%cuda", cuda))
if all(os.path.exists(os.path.join(cuda, "include", name)) for name in ("cuda.h", "nvrtc.h", "cublasLt.h")):
    config.available_features.add("cuda-headers")
# Where `make setup-test` puts NVRTC if there is no toolkit.
nvrtc = os.path.join(os.path.dirname(out), "nvrtc/venv")
if os.path.exists(nvrtc):
    config.environment["VIRTUAL_ENV"] = nvrtc
# NVRTC leaves memory of its own behind, and finds its second library only where the loader looks, under AddressSanitizer.
folders = ":".join(glob.glob(os.path.join(nvrtc, "lib/python3*/site-packages/nvidia/*/lib")))
config.substitutions.append(("%nvrtc", f"env ASAN_OPTIONS=detect_leaks=0 LD_LIBRARY_PATH={folders}"))
if os.path.exists(nvrtc) or glob.glob(os.path.join(cuda, "lib64", "libnvrtc.so.1[23]")):
    config.available_features.add("nvrtc")
# Only in `make test`: `make check` leaves the fuzzers and clang-tidy out.
if os.environ.get("MOEC_FUZZ") == "1":
    config.available_features.add("fuzz")
