"""Measures how a training step grows with what it works on, and what fusion is worth.

    growth.py MOEC [--folder DIR] [--rounds N] [--steps N] [--quick] [--json FILE]

One E8T2 model at d = 256, sequence 256, and variants of it: four times the tokens, experts at the same top-k, layers;
and built with --no-fuse, and with all ways to fuse but one. Time per active FLOP is that of a step over the model FLOPs
of its tokens (spec/numerics.md), relative to the model that is varied, round by round. 1.10 is what the project allows
of what grows.
"""

import argparse
import json

from sides import Clock, Executable, Model, Spread, run_rounds

SIZES = {"B": 16, "T": 256, "vocab": 8192, "d": 256, "layers": 4, "ff": 1024, "heads": 8, "kv_heads": 4, "n_experts": 8}
QUICK = {"B": 2, "T": 64, "vocab": 512, "layers": 1}
BASE = "model"
FUSIONS = ("rows", "epilogue", "prologue", "siblings", "accumulate", "updates")
GROWN = {"tokens x 4": "B", "experts x 4": "n_experts", "layers x 4": "layers"}


def parse_arguments():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, usage=argparse.SUPPRESS
    )
    parser.add_argument("moec")
    parser.add_argument("--folder", default="build/bench")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=2, help="that count in a round")
    parser.add_argument("--quick", action="store_true", help="a small model, one step: only whether it works")
    parser.add_argument("--json", help="file to write all numbers to")
    arguments = parser.parse_args()
    if arguments.quick:
        arguments.rounds, arguments.steps = 2, 1
    return arguments


def start(arguments, name, sizes, *options):
    model = Model(arguments.moec, arguments.folder, name.replace(" ", "").strip("-"), sizes, True)
    model.prepare()
    return Executable(model, model.build("train", *options))


def start_sides(arguments):
    sizes = SIZES | (QUICK if arguments.quick else {})
    sides = {BASE: start(arguments, BASE, sizes)}
    for name, size in GROWN.items():
        sides[name] = start(arguments, name, sizes | {size: 4 * sizes[size]})
    sides["--no-fuse"] = start(arguments, "--no-fuse", sizes, "--no-fuse")
    for left_out in FUSIONS:
        others = ",".join(fusion for fusion in FUSIONS if fusion != left_out)
        sides[f"without {left_out}"] = start(arguments, f"without {left_out}", sizes, f"--fuse={others}")
    return sides


def relative(samples, name):
    """Time per active FLOP over that of the model."""
    pairs = zip(samples[name], samples[BASE])
    return Spread([(grown.seconds / grown.flops) / (base.seconds / base.flops) for grown, base in pairs])


def main():
    arguments, clock = parse_arguments(), Clock()
    sides = start_sides(arguments)
    samples = run_rounds(sides, arguments.rounds, arguments.steps)
    print(f"{'E8T2, d 256, sequence 256':28} {'ms a step':>24} {'GFLOP/s':>8} {'time per active FLOP':>24}")
    for name, taken in samples.items():
        milliseconds = Spread([1e3 * sample.seconds for sample in taken])
        rate = Spread([1e-9 * sample.flops / sample.seconds for sample in taken])
        per_flop = relative(samples, name).text(".3f") if name != BASE else "1"
        print(f"{name:28} {milliseconds.text('.0f'):>24} {rate.middle:8.0f} {per_flop:>24}")
    print(f"\n{clock.text()}")
    if arguments.json:
        report = {name: [vars(sample) for sample in taken] for name, taken in samples.items()}
        with open(arguments.json, "w") as file:
            json.dump(report, file, indent=1)


main()
