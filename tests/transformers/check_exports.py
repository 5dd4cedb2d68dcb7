"""Loads what executables export with transformers, and compares the logits of both.

    python3 check_exports.py MOEC OUT_DIR        (needs torch, transformers, safetensors)

For each case of tests/vectors, and each model of models/ that has one there and is exported in a published layout:
builds it, trains three steps, exports, loads the export as the class its config.json names, and compares the logits of one
sequence with those that the executable computes from the same directory.
"""

import json
import os
import re
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
    "model_llama3_8b_e8t2": "MixtralForCausalLM",
    "model_llama3_1b_e8t2": "MixtralForCausalLM",
    "model_smollm2_135m_e8t2": "MixtralForCausalLM",
    "model_mistral_7b_e8t2": "MixtralForCausalLM",
    "model_qwen3_0_6b_e8t2": "Qwen3MoeForCausalLM",
}
TOLERANCE = 1e-4
HEADER_BYTES = 1024


def run(*command):
    result = subprocess.run(command, capture_output=True, text=True)
    if result.returncode != 0:
        sys.exit(f"check_exports: {' '.join(command)}\n{result.stdout}{result.stderr}")
    return result.stdout


def build_arguments(case):
    """The model, and the sizes that its vector has: those of a model of models/ stand in its test."""
    if not case.startswith("model_"):
        return [os.path.join(VECTORS, case, "model.moe")]
    with open(os.path.join(VECTORS, case + ".test")) as file:
        sizes = re.findall(r"-D [a-z_A-Z]+=[0-9]+", next(line for line in file if "moec build" in line))
    return [os.path.join(ROOT, "models", case.removeprefix("model_") + ".moe"), *" ".join(sizes).split()]


def check(moec, out, case):
    folder = os.path.join(VECTORS, case)
    train, export, dump = (os.path.join(out, f"{case}.{kind}") for kind in ("train", "export", "dump"))
    tokens = os.path.join(folder, "tokens.bin")
    run(moec, "build", *build_arguments(case), "-o", train, "--quiet")
    micro_batch = json.loads(run(train, "--print-config"))["settings"]["micro-batch"]
    settings = ["--data", tokens, "--warmup", "0", "--global-batch", str(micro_batch)]
    run(train, "--weights", os.path.join(folder, "weights"), *settings, "--steps", "3", "--export", export)
    run(train, "--weights", export, *settings, "--steps", "1", "--dump", dump)
    logits = load_file(dump)["logits"].double()
    model, report = AutoModelForCausalLM.from_pretrained(export, output_loading_info=True, dtype=torch.float32,
                                                         experts_implementation="eager")  # fmt: skip
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
