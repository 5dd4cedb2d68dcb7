"""Compares whole training steps of moec with PyTorch's.

    training_step.py MOEC --python PYTHON [--folder DIR] [--models dense-256,moe-256,dense-576,moe-576]
                     [--sequences 256,1024] [--rounds N] [--steps N]
                     [--peers eager,compile,bf16,bf16-compile] [--quick] [--json FILE]

Both sides start from the same weights, see the same tokens, take the same optimizer steps; the losses of their first
step must agree. A step is one micro-batch of 4096 tokens. PyTorch is tests/bench/torch_model.py, eager or compiled, with
the BLAS, and of the ways to run experts with the one, that turn out to be the fastest. Sides take turns, --steps steps in
each round. A ratio is that of the medians of one round; what is printed is the median over the rounds, the least and the
greatest. Nothing is asserted but that both sides compute the same.
"""

import argparse
import json
import os
import platform
import subprocess
import sys

from sides import Clock, Executable, Failure, Model, Peer, Spread, choose_blas, ratio, run_checked, run_rounds

SHAPES = {
    "256": {"vocab": 8192, "d": 256, "layers": 4, "ff": 1024, "heads": 8, "kv_heads": 4},
    "576": {"vocab": 16384, "d": 576, "layers": 4, "ff": 1536, "heads": 9, "kv_heads": 3},
}
TOKENS = 4096
QUICK = {"vocab": 1024, "layers": 1}
QUICK_TOKENS = 1024

EAGER, COMPILED, AUTOCAST, AUTOCAST_COMPILED = "torch f32", "torch.compile f32", "torch bf16", "torch.compile bf16"
OURS, OURS_BF16 = "moec f32", "moec bf16"

# What --peers calls them, and flags of torch_train.py.
PEERS = {
    "eager": (EAGER, []),
    "compile": (COMPILED, ["--compile"]),
    "bf16": (AUTOCAST, ["--bf16"]),
    "bf16-compile": (AUTOCAST_COMPILED, ["--bf16", "--compile"]),
}
MOE_PEERS, DENSE_PEERS = "eager,compile,bf16", "eager"

# What the project wants to reach: (what, of MoE, of dense), each (least, aim).
GOALS = {
    "eager": ("step against PyTorch eager, f32", ("1.5x", "2.0x"), ("1.25x", "1.5x")),
    "compiled": ("step against torch.compile, f32", ("1.3x", "1.6x"), None),
    "autocast": ("our bf16 against PyTorch's bf16 autocast", ("1.6x", "2.5x"), None),
    "share": ("share of the matmul ceiling, f32", ("75%", "85%"), ("80%", "88%")),
    "bf16": ("our bf16 against our f32", ("1.4x", "1.8x"), ("1.4x", "1.8x")),
    "memory_net": ("peak memory against PyTorch's less its import", ("0.5x", "0.4x"), ("0.5x", "0.4x")),
    "memory": ("  the same against its whole process", None, None),
}

# Relative differences of the first loss that rounding explains.
LOSS_SLACK = {"f32": 1e-5, "bf16": 1e-3}


def parse_arguments():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, usage=argparse.SUPPRESS
    )
    parser.add_argument("moec")
    parser.add_argument("--python", required=True, help="that has torch")
    parser.add_argument("--folder", default="build/bench")
    parser.add_argument("--models", default="dense-256,moe-256,dense-576,moe-576")
    parser.add_argument("--sequences", default="256,1024")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=2, help="that count in a round")
    parser.add_argument("--peers", help=f"of PyTorch; without it {MOE_PEERS} with experts, {DENSE_PEERS} without")
    parser.add_argument("--quick", action="store_true", help="small models, one step: only whether it works")
    parser.add_argument("--json", help="file to write all numbers to")
    arguments = parser.parse_args()
    unknown = set((arguments.peers or "eager").split(",")) - PEERS.keys()
    if unknown:
        parser.error(f"--peers: found {', '.join(sorted(unknown))}, expected of {', '.join(PEERS)}")
    if arguments.quick:
        arguments.rounds, arguments.steps = 2, 1
    return arguments


# ---- One model -------------------------------------------------------------------------------------------------------


def make_model(arguments, name, sequence):
    kind, _, width = name.partition("-")
    if kind not in ("dense", "moe") or width not in SHAPES:
        sys.exit(f"training_step: there is no model '{name}'")
    n_tokens = QUICK_TOKENS if arguments.quick else TOKENS
    sizes = SHAPES[width] | (QUICK if arguments.quick else {}) | {"B": n_tokens // sequence, "T": sequence}
    model = Model(arguments.moec, arguments.folder, f"{name}-{sequence}", sizes, kind == "moe")
    model.prepare()
    return model


def start_peer(model, setup, weights, flags):
    """PyTorch's side, warmed up."""
    peer = Peer(model, setup["python"], weights, flags, setup["environment"])
    peer.run(1)
    return peer, peer.run(1).seconds


def start_fastest(model, setup, weights, name, flags):
    """PyTorch's side in the faster way to run experts; None where none works. What is compiled keeps the way that was
    found for the first model: compiling takes long."""
    ways = ([], ["--sorted-experts"]) if model.is_moe else ([],)
    if model.is_moe and name in setup["ways"]:
        ways = (setup["ways"][name],)
    best, best_seconds = None, float("inf")
    for way in ways:
        try:
            peer, seconds = start_peer(model, setup, weights, flags + way)
        except Failure as failure:
            print(f"{model.name}: {name}: {failure}", file=sys.stderr)
            continue
        best, worse = (peer, best) if seconds < best_seconds else (best, peer)
        best_seconds = min(seconds, best_seconds)
        if worse:
            worse.close()
        if model.is_moe and "--compile" in flags and best is peer:
            setup["ways"][name] = way
    return best


def has_build_option(moec, option):
    return option in run_checked([moec, "build", "--help"])


def start_sides(arguments, setup, model):
    ours = Executable(model, model.build("f32", is_dense=not model.is_moe))
    sides = {OURS: ours}
    if has_build_option(arguments.moec, "--precision"):
        path = model.build("bf16", "--precision", "bf16", is_dense=not model.is_moe)
        sides[OURS_BF16] = Executable(model, path)
    weights = model.export(ours.executable)
    for word in (arguments.peers or (MOE_PEERS if model.is_moe else DENSE_PEERS)).split(","):
        name, flags = PEERS[word]
        peer = start_fastest(model, setup, weights, name, flags)
        if peer:
            sides[name] = peer
    return sides


def check_same(model, sides, samples):
    """Both sides have as many parameters, and the same loss before anything was learnt."""
    ours = samples[OURS][0].losses[0]
    for name in samples:
        if sides[name].parameters != sides[OURS].parameters:
            sys.exit(f"{model.name}: {name} has {sides[name].parameters} parameters, not {sides[OURS].parameters}")
        loss = samples[name][0].losses[0]
        if abs(loss - ours) > LOSS_SLACK["bf16" if "bf16" in name else "f32"] * ours:
            sys.exit(f"{model.name}: the first loss of {name} is {loss}, of {OURS} {ours}")


def measure_model(arguments, setup, model):
    """Samples by the sides' names."""
    sides = start_sides(arguments, setup, model)
    started = dict(sides)
    samples = run_rounds(sides, arguments.rounds, arguments.steps)
    check_same(model, sides, samples)
    for side in started.values():
        side.close()
    return samples


# ---- Results ---------------------------------------------------------------------------------------------------------


def tokens_per_second(model, samples):
    return Spread([model.tokens / sample.seconds for sample in samples])


def peak(samples):
    return max(sample.peak_mib for sample in samples)


def find_goals(samples):
    """{key of GOALS: Spread}, of what was measured."""
    ours, goals = samples[OURS], {}
    goals["share"] = Spread([sample.share for sample in ours])
    if EAGER in samples:
        goals["eager"] = ratio(samples[EAGER], ours)
        theirs, imported = peak(samples[EAGER]), samples[EAGER][0].imported_mib
        goals["memory"] = Spread([peak(ours) / theirs])
        goals["memory_net"] = Spread([peak(ours) / (theirs - imported)])
    if COMPILED in samples:
        goals["compiled"] = ratio(samples[COMPILED], ours)
    if OURS_BF16 in samples:
        goals["bf16"] = ratio(ours, samples[OURS_BF16])
        theirs = [samples[name] for name in (AUTOCAST, AUTOCAST_COMPILED) if name in samples]
        if theirs:
            goals["autocast"] = min((ratio(one, samples[OURS_BF16]) for one in theirs), key=lambda found: found.middle)
    return goals


def print_samples(model, samples):
    for name, taken in samples.items():
        milliseconds = Spread([1e3 * sample.seconds for sample in taken])
        tokens = tokens_per_second(model, taken)
        share = f"{100 * Spread([s.share for s in taken]).middle:4.0f}%" if taken[0].share is not None else "    -"
        imported = f"{taken[0].imported_mib:6.0f}" if taken[0].imported_mib else "     -"
        print(
            f"{model.name:15} {name:19} {milliseconds.text('.0f'):>22} {tokens.text('.0f'):>26}"
            f" {share} {peak(taken):8.0f} {imported}",
            flush=True,
        )


def cell(key, goals):
    if key not in goals:
        return "-"
    if key == "share":
        share = goals[key]
        return f"{100 * share.middle:.0f}% ({100 * share.least:.0f}..{100 * share.greatest:.0f})"
    found = goals[key]
    return f"{found.middle:.2f}x" if key.startswith("memory") else found.text(".2f")


def print_goals(title, results, column):
    """One column for each model; least and aim are what the project wants to reach."""
    if not results:
        return
    width = max(20, *(len(model.name) + 2 for model, _ in results))
    names = "".join(f"{model.name:>{width}}" for model, _ in results)
    print(f"\n{title:45} {'least':>6} {'aim':>6}{names}")
    for key, goal in GOALS.items():
        least, aim = goal[column] or ("-", "-")
        cells = "".join(f"{cell(key, goals):>{width}}" for _, goals in results)
        print(f"{goal[0]:45} {least:>6} {aim:>6}{cells}")


def model_json(model, samples, goals):
    sides = {}
    for name, taken in samples.items():
        sides[name] = {
            "seconds": [sample.seconds for sample in taken],
            "tokens_per_s": tokens_per_second(model, taken).json(),
            "peak_mib": peak(taken),
            "imported_mib": taken[0].imported_mib,
            "share_of_ceiling": [sample.share for sample in taken],
            "losses": taken[-1].losses,
        }
    return {
        "model": model.name,
        "sizes": model.sizes,
        "sides": sides,
        "goals": {key: found.json() for key, found in goals.items()},
    }


# ---- The run ---------------------------------------------------------------------------------------------------------


def processor():
    with open("/proc/cpuinfo") as file:
        names = [line.split(":")[1].strip() for line in file if line.startswith("model name")]
    return f"{len(os.sched_getaffinity(0))} cores of {names[0] if names else platform.machine()}"


def torch_version(python):
    return subprocess.run([python, "-c", "import torch; print(torch.__version__)"], capture_output=True, text=True)


def prepare(arguments):
    """What all models share; says on what it all runs."""
    os.environ.setdefault("TORCHINDUCTOR_CACHE_DIR", os.path.abspath(os.path.join(arguments.folder, "inductor")))
    os.environ.setdefault("OMP_NUM_THREADS", str(len(os.sched_getaffinity(0))))
    environment, blas = choose_blas(arguments.python)
    version = torch_version(arguments.python).stdout.strip()
    print(f"{processor()}; PyTorch {version} with {blas}")
    settings = {key: os.environ[key] for key in sorted(os.environ) if key.startswith(("OPENBLAS_", "MKL_", "OMP_"))}
    print("environment: " + ", ".join(f"{key}={value}" for key, value in settings.items()))
    n_tokens = QUICK_TOKENS if arguments.quick else TOKENS
    print(f"a step: {n_tokens} tokens, one micro-batch; {arguments.rounds} rounds of {arguments.steps} steps")
    print("median (least..greatest) of the rounds; MiB: the process at most, and after importing torch\n", flush=True)
    setup = {"python": arguments.python, "environment": environment, "torch": version, "blas": blas}
    return setup | {"variables": settings, "ways": {}}


def main():
    arguments, clock = parse_arguments(), Clock()
    setup, results, report = prepare(arguments), [], []
    print(f"{'model':15} {'side':19} {'ms a step':>22} {'tokens/s':>26} peak      MiB import", flush=True)
    for name in arguments.models.split(","):
        for sequence in arguments.sequences.split(","):
            model = make_model(arguments, name, int(sequence))
            samples = measure_model(arguments, setup, model)
            goals = find_goals(samples)
            print_samples(model, samples)
            results.append((model, goals))
            report.append(model_json(model, samples, goals))
    print_goals("Mixture of Experts", [entry for entry in results if entry[0].is_moe], 1)
    print_goals("dense", [entry for entry in results if not entry[0].is_moe], 2)
    print(f"\n{clock.text()}")
    if arguments.json:
        with open(arguments.json, "w") as file:
            json.dump({"setup": setup, "processor": processor(), "models": report}, file, indent=1)


main()
