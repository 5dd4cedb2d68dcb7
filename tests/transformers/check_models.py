"""Compares the models of models/, at small sizes, with the classes of transformers that they describe.

    python3 check_models.py MOEC        (needs torch, transformers, numpy)

For each model: the interpreter runs its dense graph on seeded random weights and tokens; the same numbers, drawn here, go
into the class of transformers; names and shapes of all weights must agree, and the logits.
"""

import math
import os
import re
import subprocess
import sys
import tempfile

import numpy
import torch
from transformers import AutoConfig, AutoModelForCausalLM

MODELS = os.path.join(os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__)))), "models")
TOLERANCE = 1e-5
STD = 0.2
SIZES = {"B": 2, "T": 7, "vocab": 11, "d": 48, "layers": 2, "ff": 20, "heads": 6, "kv_heads": 3}
LLAMA3 = {"rope_type": "llama3", "factor": 32.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
          "original_max_position_embeddings": 8192}  # fmt: skip
# model_type, sizes that differ, and what config.json says beyond the sizes
CASES = {
    "llama3_8b_e8t2": ("llama", {}, {"rope_theta": 5e5}),
    "llama3_1b_e8t2": ("llama", {}, {"rope_theta": 5e5, "rope_scaling": LLAMA3, "tie_word_embeddings": True,
                                     "max_position_embeddings": 131072}),
    "smollm2_135m_e8t2": ("llama", {}, {"rope_theta": 1e5, "tie_word_embeddings": True}),
    "tiny_e4t2": ("llama", {}, {"rope_theta": 1e4}),
    "mistral_7b_e8t2": ("mistral", {}, {"rope_theta": 1e6, "sliding_window": None}),
    "qwen2_0_5b_e8t2": ("qwen2", {}, {"rope_theta": 1e6, "rms_norm_eps": 1e-6, "tie_word_embeddings": True}),
    "qwen3_0_6b_e8t2": ("qwen3", {"head_dim": 10}, {"rope_theta": 1e6, "rms_norm_eps": 1e-6,
                                                    "tie_word_embeddings": True}),
    "gemma_2b_e8t2": ("gemma", {"head_dim": 10}, {"rope_theta": 1e4, "rms_norm_eps": 1e-6, "tie_word_embeddings": True,
                                                  "hidden_act": "gelu_pytorch_tanh"}),
    "gpt2_e8t2": ("gpt2", {"positions": 9}, {}),
}  # fmt: skip


def config_of(model_type, sizes, extra):
    if model_type == "gpt2":
        return AutoConfig.for_model("gpt2", vocab_size=sizes["vocab"], n_embd=sizes["d"], n_layer=sizes["layers"],
                                    n_head=sizes["heads"], n_positions=sizes["positions"])  # fmt: skip
    values = dict(
        vocab_size=sizes["vocab"], hidden_size=sizes["d"], intermediate_size=sizes["ff"],
        num_hidden_layers=sizes["layers"], num_attention_heads=sizes["heads"],
        num_key_value_heads=sizes["kv_heads"], head_dim=sizes.get("head_dim", sizes["d"] // sizes["heads"]),
        rms_norm_eps=1e-5, tie_word_embeddings=False,
    )  # fmt: skip
    values.update(extra)
    theta, scaling = values.pop("rope_theta"), values.pop("rope_scaling", {"rope_type": "default"})
    return AutoConfig.for_model(model_type, **values, rope_parameters={**scaling, "rope_theta": theta})


def draws(name, n):
    """The first n of SplitMix64, seeded with the FNV-1a hash of the name: frontend/evaluate.c."""
    mask, seed = (1 << 64) - 1, 0xCBF29CE484222325
    for byte in name.encode():
        seed = ((seed ^ byte) * 0x100000001B3) & mask
    z = numpy.uint64(seed) + numpy.arange(1, n + 1, dtype=numpy.uint64) * numpy.uint64(0x9E3779B97F4A7C15)
    z = (z ^ (z >> numpy.uint64(30))) * numpy.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> numpy.uint64(27))) * numpy.uint64(0x94D049BB133111EB)
    return z ^ (z >> numpy.uint64(31))


def normal(name, shape):
    uniform = ((draws(name, 2 * math.prod(shape)) >> numpy.uint64(11)).astype(numpy.float64) + 0.5) * 2.0**-53
    values = numpy.sqrt(-2 * numpy.log(uniform[0::2])) * numpy.cos(2 * math.pi * uniform[1::2])
    return torch.from_numpy(STD * values.reshape(shape))


def run(*command):
    result = subprocess.run(command, capture_output=True, text=True)
    if result.returncode != 0:
        sys.exit(f"check_models: {' '.join(command)}\n{result.stdout}{result.stderr}")
    return result.stdout


def interpret(moec, name, sizes):
    """Shapes of the weights, and sum, mean square and first elements of the logits."""
    path = os.path.join(MODELS, name + ".moe")
    defines = [f"-D{key}={value}" for key, value in sizes.items()]
    text = run(moec, "emit", path, "--dense", "--after=lower", *defines)
    text = re.sub(r'init = "(normal", std = 0.02|ones"|zeros")', f'init = "normal", std = {STD}', text)
    with tempfile.NamedTemporaryFile("w", suffix=".ir") as file:
        file.write(text)
        file.flush()
        out = run(moec, "interpret", file.name, "--graph", "forward")
    shapes = {
        match[1]: [int(dim.split("=")[-1]) for dim in match[2].split(", ")]
        for match in re.finditer(r'^state "([^"]+)" weight : f32\[([^\]]*)\]', text, re.MULTILINE)
    }
    logits = re.search(r"^logits : .* sum (\S+) mean square (\S+) \[(.*), \.\.\.\]", out, re.MULTILINE)
    return shapes, [float(logits[1]), float(logits[2]), *map(float, logits[3].split(", "))]


def check(moec, name):
    model_type, other_sizes, extra = CASES[name]
    sizes = {**SIZES, **other_sizes}
    if model_type == "gpt2":
        del sizes["kv_heads"], sizes["ff"]
    shapes, found = interpret(moec, name, sizes)
    model = AutoModelForCausalLM.from_config(config_of(model_type, sizes, extra), attn_implementation="eager")
    model = model.double().eval()
    parameters = dict(model.named_parameters())
    assert {key: list(value.shape) for key, value in parameters.items()} == shapes, f"{name}: weights differ"
    n = sizes["B"] * sizes["T"]
    tokens = (draws("tokens", n) % numpy.uint64(sizes["vocab"])).astype(numpy.int64).reshape(sizes["B"], sizes["T"])
    with torch.no_grad():
        for key, value in parameters.items():
            value.copy_(normal(key, value.shape))
        logits = model(torch.from_numpy(tokens)).logits
    expected = [logits.sum().item(), (logits**2).mean().item(), *logits.flatten()[:4].tolist()]
    error = max(abs(a - b) / (1 + abs(b)) for a, b in zip(found, expected))
    print(f"{name}: {type(model).__name__}, logits differ by {error:.1e}")
    assert error <= TOLERANCE, f"allowed {TOLERANCE}: {found}, expected {expected}"


def main():
    if len(sys.argv) != 2:
        sys.exit("usage: check_models.py MOEC")
    missing = {name[:-4] for name in os.listdir(MODELS) if name.endswith(".moe")} - set(CASES)
    assert not missing, f"models without a case: {missing}"
    for name in CASES:
        check(os.path.abspath(sys.argv[1]), name)


main()
