"""Loads what executables export with transformers, and compares the logits of both.

    python3 check_exports.py MOEC OUT_DIR        (needs torch, transformers, safetensors)

For each case of tests/vectors: builds it, trains three steps, exports, loads the export as the class its config.json
names, and compares the logits of one sequence with those that the executable computes from the same directory.
"""

import os
import subprocess
import sys

import numpy
import torch
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
VECTORS = os.path.join(ROOT, "tests", "vectors")
EXPECTED_CLASS = {
    "llama_tied": "LlamaForCausalLM",
    "llama3_rope": "LlamaForCausalLM",
    "mixtral_e5k3": "MixtralForCausalLM",
    "mixtral_e8k2_tied": "MixtralForCausalLM",
}
TOLERANCE = 1e-4
HEADER_BYTES = 1024


def run(*command):
    result = subprocess.run(command, capture_output=True, text=True)
    if result.returncode != 0:
        sys.exit(f"check_exports: {' '.join(command)}\n{result.stdout}{result.stderr}")


def check(moec, out, case):
    folder = os.path.join(VECTORS, case)
    train, export, dump = (os.path.join(out, f"{case}.{kind}") for kind in ("train", "export", "dump"))
    tokens = os.path.join(folder, "tokens.bin")
    run(moec, "build", os.path.join(folder, "model.moe"), "-o", train, "--quiet")
    run(train, "--weights", os.path.join(folder, "weights"), "--data", tokens, "--steps", "3", "--export", export)
    run(train, "--weights", export, "--data", tokens, "--steps", "1", "--dump", dump)
    logits = load_file(dump)["logits"].double()
    model, report = AutoModelForCausalLM.from_pretrained(export, output_loading_info=True, dtype=torch.float32)
    problems = {key: value for key, value in report.items() if value}
    assert type(model).__name__ == EXPECTED_CLASS[case], type(model).__name__
    assert not problems, problems
    ids = numpy.fromfile(tokens, dtype=numpy.uint16, offset=HEADER_BYTES)[: logits.shape[-2]].astype(numpy.int64)
    with torch.no_grad():
        theirs = model.double()(torch.from_numpy(ids)[None]).logits
    error = ((logits.reshape(theirs.shape) - theirs).abs().max() / theirs.abs().max()).item()
    print(f"{case}: {type(model).__name__}, logits differ by {error:.1e} of the largest")
    assert error <= TOLERANCE, f"allowed {TOLERANCE}"


def main():
    if len(sys.argv) != 3:
        sys.exit("usage: check_exports.py MOEC OUT_DIR")
    os.makedirs(sys.argv[2], exist_ok=True)
    for case in EXPECTED_CLASS:
        check(sys.argv[1], sys.argv[2], case)


main()
