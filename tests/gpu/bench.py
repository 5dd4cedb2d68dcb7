"""Benchmarks on a GPU, beside PyTorch in the same run, and the table of what was wanted."""

import array
import json
import os
import random
import statistics

import programs
from machine import Card, Failed, Skipped, read_log

HERE = os.path.dirname(os.path.abspath(__file__))
# Of an H100 SXM in bf16, without sparsity.
PEAK_FLOPS = 989e12


def spread(values):
    return {"median": statistics.median(values), "least": min(values), "greatest": max(values), "n": len(values)}


def json_lines(text):
    return [json.loads(line) for line in text.splitlines() if line.startswith("{")]


# ---- Kernels one by one ----------------------------------------------------------------------------------------------

# The products of experts, and attention, at sizes of Llama 3 8B; bf16 as a build with --precision bf16 has it.
PRODUCTS = """module products
directive precision "bf16"

graph products {{
  %x = input {{name = "x"}} : f32[tokens={tokens}, d={d}]
  %w = input {{name = "w"}} : f32[experts=8, ff={ff}, d={d}]
  %dy = input {{name = "dy"}} : f32[~rows={rows}, ff={ff}]
  %experts = input {{name = "experts"}} : i32[tokens={tokens}, 2]
  %offsets, %slots, %places = route %experts {{experts = 8, capacity = 0}} : i32[9], i32[~rows={rows}], i32[tokens={tokens}, 2]
  %taken = dispatch %x, %slots, %places : f32[~rows={rows}, d={d}]
  %kept = copy %taken : f32[~rows={rows}, d={d}]
  %y = grouped_matmul %kept, %w, %offsets {{mode = "nt"}} : f32[~rows={rows}, ff={ff}]
  %dx = grouped_matmul %dy, %w, %offsets {{mode = "nn"}} : f32[~rows={rows}, d={d}]
  %dw = grouped_matmul %dy, %kept, %offsets {{mode = "tn"}} : f32[8, ff={ff}, d={d}]
  output "kept" = %kept
  output "y" = %y
  output "dx" = %dx
  output "dw" = %dw
}}
"""

ATTENTION = """module attention
directive precision "bf16"

graph attention {{
  %q = input {{name = "q"}} : f32[B={B}, T={T}, H={H}, D={D}]
  %k = input {{name = "k"}} : f32[B={B}, T={T}, G={G}, D={D}]
  %v = input {{name = "v"}} : f32[B={B}, T={T}, G={G}, D={D}]
  %dout = input {{name = "dout"}} : f32[B={B}, T={T}, H={H}, D={D}]
  %out, %logsumexp = attention %q, %k, %v {{scale = 0.0883883}} : f32[B={B}, T={T}, H={H}, D={D}], f32[B={B}, H={H}, T={T}]
  %dq, %dk, %dv = attention_grad %q, %k, %v, %out, %logsumexp, %dout {{scale = 0.0883883}} : f32[B={B}, T={T}, H={H}, D={D}], f32[B={B}, T={T}, G={G}, D={D}], f32[B={B}, T={T}, G={G}, D={D}]
  output "out" = %out
  output "logsumexp" = %logsumexp
  output "dq" = %dq
  output "dk" = %dk
  output "dv" = %dv
}}
"""

FULL = {"tokens": 8192, "rows": 16384, "d": 4096, "ff": 14336, "B": 2, "T": 8192, "H": 32, "G": 8, "D": 128}
QUICK = {"tokens": 16, "rows": 32, "d": 32, "ff": 48, "B": 1, "T": 32, "H": 2, "G": 1, "D": 16}


def write_modules(context):
    paths = []
    for name, text in (("products", PRODUCTS), ("attention", ATTENTION)):
        paths.append(context.file(name + ".ir"))
        with open(paths[-1], "w") as file:
            file.write(text.format(**(QUICK if context.is_quick else FULL)))
    return paths


def run_kernel_bench(context, paths, limit):
    """(what it says of the device, of the kernels)"""
    command = [context.program("cuda_kernel_bench"), *(["--quick"] if context.is_quick else [])]
    outcome = context.run(command + ["--below", "8", *paths], limit)
    lines = json_lines(outcome.out)
    if not lines or (outcome.code != 0 and not outcome.is_late):
        raise Failed(f"cuda_kernel_bench: exit code {outcome.code}\n{outcome.tail()}")
    for line in lines[1:]:
        seconds = line["ms"]["median"] / 1e3
        line["tflops"], line["share_of_copy"] = line["flops"] / seconds / 1e12, line["bytes"] / seconds
        line["share_of_copy"] /= lines[0]["copy_bytes_per_s"]
    return lines[0], lines[1:], outcome.is_late


def rate_of(kernels, *ops):
    """TFLOP/s of the kernel that holds such an op, in order of the graph."""
    found = [kernel["tflops"] for kernel in kernels if kernel["ops"].split("+")[0] in ops]
    return found


def bench_kernels(context):
    """Products of experts and attention, then all kernels of a training step; PyTorch's beside them."""
    with Card() as card:
        device, kernels, is_late = run_kernel_bench(context, write_modules(context), 60)
        _, step, step_is_late = run_kernel_bench(context, [context.program("step-bf16.ir")], 60)
    results = {"device": device, "kernels": kernels, "step": step, "cut_short": is_late or step_is_late}
    results["card"] = card.report()
    results["torch"] = bench_torch_kernels(context)
    return results


def bench_torch_kernels(context):
    if not context.python:
        return {"skipped": "no Python with PyTorch: MOEC_BENCH_PYTHON names one"}
    command = [context.python, os.path.join(HERE, "..", "bench", "torch_kernels_cuda.py")]
    command += ["--quick", "--device", "cpu"] if context.is_quick else []
    outcome = context.run(command, 60)
    lines = json_lines(outcome.out)
    if not lines:
        return {"skipped": outcome.tail() or "it said nothing"}
    for line in lines:
        if "flops" in line:
            line["tflops"] = line["flops"] / line["ms"]["median"] / 1e9
    return lines


# ---- Steps -----------------------------------------------------------------------------------------------------------

# name: sequences of an optimizer step, seconds for ours, for PyTorch's. Head dimension and whether the head is the
# embedding, which the model's file says.
STEPS = {"llama3-8b": (16, 100, 110), "llama3-1b": (32, 70, 80)}
SHAPES = {
    "llama3-8b": {"T": 8192, "vocab": 128256, "d": 4096, "ff": 14336, "heads": 32, "kv_heads": 8, "head_dim": 128},
    "llama3-1b": {"T": 4096, "vocab": 128256, "d": 2048, "ff": 8192, "heads": 32, "kv_heads": 8, "head_dim": 64},
}
TIED = {"llama3-1b"}
N_STEPS, WARM_UP = 8, 2


def shape_of(name):
    """All sizes, those that programs.py builds with before those of the model's file."""
    return SHAPES[name] | programs.BENCHED[name][1]


def full_attention_flops(name, flops_per_token):
    """FLOPs of a token when attention counts the whole square of scores, of which the causal count has half."""
    shape = shape_of(name)
    return flops_per_token + 3 * shape["layers"] * 2 * shape["T"] * shape["heads"] * shape["head_dim"]


def write_tokens(path, n, vocab):
    ids = random.Random(1)
    block = array.array("I", [ids.randrange(vocab) for _ in range(1 << 16)])
    with open(path, "wb") as file:
        for _ in range(n // len(block) + 1):
            block.tofile(file)


def bench_step(context, name, sequences, limit):
    shape = shape_of(name)
    tokens, log = context.file(name + ".tokens"), context.file(name + ".jsonl")
    write_tokens(tokens, sequences * shape["T"] + 1, shape["vocab"])
    command = [context.program(name + "-bf16"), "--device", "cuda", "--data", tokens, "--token-dtype", "u32"]
    command += ["--global-batch", str(sequences), "--steps", str(N_STEPS), "--warmup", "0", "--quiet", "--log", log]
    with Card() as card:
        outcome = context.run(command, limit)
    start, steps = read_log(log) if os.path.exists(log) else (None, [])
    if outcome.code != 0 and not (outcome.is_late and len(steps) > WARM_UP):
        raise Failed(f"{name}: exit code {outcome.code} after {outcome.seconds:.0f} s\n{outcome.tail()}")
    timed = steps[WARM_UP:]
    rates = [step["tokens_per_s"] for step in timed]
    causal, full = start["flops_per_token"], full_attention_flops(name, start["flops_per_token"])
    return {
        "tokens_per_s": spread(rates),
        "ms": spread([step["ms"] for step in timed]),
        "mfu_causal": spread([rate * causal / PEAK_FLOPS for rate in rates]),
        "mfu_full": spread([rate * full / PEAK_FLOPS for rate in rates]),
        "losses": [step["loss"] for step in steps],
        "parameters": start["parameters"],
        "card": card.report(),
        "cut_short": outcome.is_late,
        "seconds": outcome.seconds,
    }


def bench_torch_step(context, name, sequences, limit):
    if not context.python:
        raise Skipped("no Python with PyTorch: MOEC_BENCH_PYTHON names one")
    shape = shape_of(name)
    sizes = {key: shape[key] for key in ("vocab", "d", "layers", "ff", "heads", "kv_heads", "head_dim")}
    command = [context.python, os.path.join(HERE, "..", "bench", "torch_moe_cuda.py"), "--sizes", json.dumps(sizes)]
    command += ["--sequence", str(shape["T"]), "--micro-batch", str(shape["B"])]
    command += ["--accumulate", str(sequences // shape["B"]), "--seconds", str(limit * 0.7), "--steps", "4"]
    command += ["--tied"] if name in TIED else []
    with Card() as card:
        outcome = context.run(command, limit, PYTORCH_CUDA_ALLOC_CONF="expandable_segments:True")
    variants = json_lines(outcome.out)
    done = [variant for variant in variants if "tokens_per_s" in variant]
    if not done:
        raise Skipped(f"no variant ran: {json.dumps(variants) if variants else outcome.tail()}")
    best = max(done, key=lambda variant: statistics.median(variant["tokens_per_s"]))
    return {
        "best": best["variant"],
        "tokens_per_s": spread(best["tokens_per_s"]),
        "peak_mib": best.get("peak_mib"),
        "variants": variants,
        "card": card.report(),
    }


def try_part(part, *arguments):
    """What it measures, or why it does not."""
    try:
        return part(*arguments)
    except Skipped as reason:
        return {"skipped": str(reason)}
    except Failed as reason:
        return {"failed": str(reason)}


def bench_steps(context):
    if context.is_quick:
        raise Skipped("--quick: the models are too large")
    results = {}
    for name, (sequences, limit, torch_limit) in STEPS.items():
        results[name] = {"ours": try_part(bench_step, context, name, sequences, limit)}
        context.write("steps", results)
        results[name]["torch"] = try_part(bench_torch_step, context, name, sequences, torch_limit)
        context.write("steps", results)
    failed = [result["ours"]["failed"] for result in results.values() if "failed" in result["ours"]]
    if failed:
        raise Failed("; ".join(failed), results)
    return results


# ---- What was wanted -------------------------------------------------------------------------------------------------


def look_up(results, *keys):
    for key in keys:
        results = results.get(key) if isinstance(results, dict) else None
    return results


def ratio(a, b):
    return a / b if a and b else None


def nth(values, index):
    return values[index] if len(values) > index else None


def targets(results):
    """[(what, wanted, found or None, "of what unit", whether less is better)]"""
    kernels = look_up(results, "kernels", "kernels") or []
    step = look_up(results, "kernels", "step") or []
    grouped, forward, backward = (rate_of(kernels, op) for op in ("grouped_matmul", "attention", "attention_grad"))
    wide, deep = (look_up(results, "steps", name) for name in ("llama3-8b", "llama3-1b"))
    ours, theirs = (look_up(wide, side, "tokens_per_s", "median") for side in ("ours", "torch"))
    memory = ratio(look_up(wide, "ours", "card", "peak_mib"), look_up(wide, "torch", "card", "peak_mib"))
    shares = memory_bound_shares(step)
    return [
        ("Llama-3-8B width, 2 layers: MFU, causal", 0.60, look_up(wide, "ours", "mfu_causal", "median"), "", False),
        ("  the same, full attention counted", None, look_up(wide, "ours", "mfu_full", "median"), "", False),
        ("  tokens/s against the best of PyTorch", 1.3, ratio(ours, theirs), "x", False),
        ("  peak memory against it", 0.7, memory, "x", True),
        ("Llama-3.2-1B width, 8 layers: MFU, causal", 0.50, look_up(deep, "ours", "mfu_causal", "median"), "", False),
        ("grouped product, forward", 650, nth(grouped, 0), "TFLOP/s", False),
        ("grouped product, backward to rows", 600, nth(grouped, 1), "TFLOP/s", False),
        ("grouped product, backward to weights", 600, nth(grouped, 2), "TFLOP/s", False),
        ("attention, forward", 550, nth(forward, 0), "TFLOP/s", False),
        ("attention, backward", 450, nth(backward, 0), "TFLOP/s", False),
        ("memory-bound kernels, share of a copy's rate", 0.85, shares, "", False),
    ]


def memory_bound_shares(step):
    """Of the time-weighted kernels of a step that no product or attention is in, and that take no less than 20 us."""
    found = [
        kernel
        for kernel in step
        if not any(word in kernel["ops"] for word in ("matmul", "attention")) and kernel["ms"]["median"] >= 0.02
    ]
    seconds = sum(kernel["launches"] * kernel["ms"]["median"] for kernel in found)
    weighted = sum(kernel["launches"] * kernel["ms"]["median"] * kernel["share_of_copy"] for kernel in found)
    return weighted / seconds if seconds else None


def number(value):
    return "-" if value is None else f"{value:.0f}" if value >= 10 else f"{value:.3g}"


def summary(results):
    """(lines of a table, the same as JSON)"""
    lines, rows = [f"{'measure':48} {'wanted':>9} {'found':>9}"], []
    for what, wanted, found, unit, less_is_better in targets(results):
        is_met = None if wanted is None or found is None else (found <= wanted if less_is_better else found >= wanted)
        verdict = {None: "" if wanted is None else "not measured", True: "met", False: "missed"}[is_met]
        bound = "" if wanted is None else ("<= " if less_is_better else ">= ") + number(wanted)
        lines.append(f"{what:48} {bound:>9} {number(found):>9} {unit:8} {verdict}".rstrip())
        rows.append({"what": what.strip(), "wanted": wanted, "found": found, "unit": unit, "met": is_met})
    return lines, rows
