"""What gpu-check runs, built into a folder, so that a machine with a GPU needs no compiler of ours.

    programs.py OUT FOLDER [--quick]

OUT is where make built moec and the tests' programs. The folder gets executables of MODELS (with --quick, those of
QUICK), the tests' programs, the libraries beside libc that these need, and modules as text; all for any x86-64
processor with AVX2.
"""

import glob
import os
import re
import shutil
import subprocess
import sys

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
UNITS = "tests/units/codegen"
TESTS = (f"{UNITS}/form_cuda_test", f"{UNITS}/form_cuda_attention_test", "cuda_kernel_bench")

BENCH, TINY = "tests/bench/llama.moe", "models/tiny_e4t2.moe"

# name: (model, sizes). Executables whose results are compared, in both precisions:
NUMERIC = {
    "small": (BENCH, {"vocab": 1024, "d": 256, "layers": 2, "ff": 512, "heads": 4, "kv_heads": 2, "B": 2, "T": 256}),
    "curve": (TINY, {"layers": 2, "B": 8, "T": 64}),
}
SMALL = {"vocab": 64, "d": 32, "layers": 1, "ff": 64, "heads": 2, "kv_heads": 1, "B": 1, "T": 16}
QUICK = {"small": (BENCH, SMALL)}
# Those that are timed, in bf16. Logits in large chunks: each chunk reads the head, and its gradient, once more.
CHUNKS = ["--chunk-bytes", "1G"]
BENCHED = {
    "llama3-8b": ("models/llama3_8b_e8t2.moe", {"layers": 2, "B": 2}),
    "llama3-1b": ("models/llama3_1b_e8t2.moe", {"layers": 8, "B": 4}),
}
# Modules whose kernels are compared one by one, and timed. Heads of 64 have attention of wgmma.
KERNELS = (BENCH, {"vocab": 256, "d": 128, "layers": 1, "ff": 128, "heads": 2, "kv_heads": 1, "B": 1, "T": 64})
STEP = ("models/llama3_8b_e8t2.moe", {"layers": 1, "B": 2})
PRECISIONS = ("f32", "bf16")


def run(command):
    result = subprocess.run(command, capture_output=True, text=True)
    if result.returncode != 0:
        sys.exit(f"programs: {' '.join(command)} failed:\n{result.stdout}{result.stderr}")
    return result.stdout


def arguments_of(model):
    path, sizes = model
    return [os.path.join(ROOT, path), *(word for name, value in sizes.items() for word in ("-D", f"{name}={value}"))]


def build(moec, folder, name, model, precision, *options):
    """FOLDER/NAME-PRECISION, unless it is newer than all that it is made of."""
    path = os.path.join(folder, f"{name}-{precision}")
    inputs = [moec, os.path.join(os.path.dirname(moec), "libmoecrt.a"), os.path.join(ROOT, model[0]), __file__]
    inputs += glob.glob(os.path.join(ROOT, "models", "**", "*.moe"), recursive=True)  # which it may import
    if os.path.exists(path) and all(os.path.getmtime(path) >= os.path.getmtime(input) for input in inputs):
        return
    settings = ["--precision", precision, "--march", "x86-64-v3", *options]
    run([moec, "build", *arguments_of(model), *settings, "-o", path, "--quiet"])


def write_module(moec, folder, name, model, precision, *options):
    text = run([moec, "emit", "--after=schedule", *arguments_of(model), "--precision", precision, *options])
    with open(os.path.join(folder, f"{name}-{precision}.ir"), "w") as file:
        file.write(text)


def copy_program(path, folder):
    """The program, and its libraries but those of libc."""
    shutil.copy2(path, folder)
    libraries = os.path.join(folder, "lib")
    os.makedirs(libraries, exist_ok=True)
    for library in re.findall(r"=> (/\S+)", run(["ldd", path])):
        if re.search(r"lib(cmocka|gomp|asan|ubsan)\.", library):
            shutil.copy2(library, libraries)


def main():
    out, folder = sys.argv[1:3]
    is_quick = "--quick" in sys.argv[3:]
    moec = os.path.join(out, "moec")
    os.makedirs(folder, exist_ok=True)
    for program in TESTS:
        copy_program(os.path.join(out, program), folder)
    for name, model in (QUICK if is_quick else NUMERIC).items():
        for precision in PRECISIONS:
            build(moec, folder, name, model, precision)
    for precision in PRECISIONS:
        write_module(moec, folder, "kernels", KERNELS, precision)
    write_module(moec, folder, "step", QUICK["small"] if is_quick else STEP, "bf16", *CHUNKS)
    for name, model in ({} if is_quick else BENCHED).items():
        build(moec, folder, name, model, "bf16", *CHUNKS)
    commit = subprocess.run(["git", "-C", ROOT, "describe", "--always", "--dirty"], capture_output=True, text=True)
    with open(os.path.join(folder, "built"), "w") as file:
        file.write(commit.stdout.strip() or "unknown")


if __name__ == "__main__":
    main()
