"""How fast a training step could be on a GPU whose kernels reach given rates, from the plan alone.

    moec emit --after=c MODEL.moe [OPTION..] > model.c
    roofline.py model.c --micro-batches N [--products F] [--attention F] [--memory B] [--peak F] [--rows N]

F are FLOP/s, B bytes/s. A launch takes the longer of its FLOPs at the rate of its kind and of its bytes at that of
memory. Prints the step's milliseconds by kind, the kernels that take most of it, and the MFU that this makes.
"""

import argparse
import collections
import re

KINDS = (("attention", "attention"), ("grouped_matmul", "grouped products"), ("matmul", "products"))


class Plan:
    """Kernels [(name, flops, bytes)], launches of programs {name: [(kernel, IR value)]}, the step's FLOPs."""

    def __init__(self, text):
        self.kernels = [
            (name, float(flops), float(n_bytes))
            for name, flops, n_bytes in re.findall(r'/\* \d+ \*/ \{\w+, "(\w+)", ([-+.e\d]+), ([-+.e\d]+)\},', text)
        ]
        self.programs = {}
        for program, lines in re.findall(r"MoecLaunch (\w+)_launches\[\] = \{\n(.*?)\n\};", text, re.S):
            launches = re.findall(r'/\* \d+ \*/ \{(\d+), \d+, \d+, "([^"]*)"', lines)
            self.programs[program] = [(int(kernel), value) for kernel, value in launches]
        self.tokens = self.number(text, "micro_batch") * self.number(text, "sequence")
        self.flops_per_token = self.number(text, "model_flops_per_token")

    @staticmethod
    def number(text, field):
        return float(re.search(rf"\.{field} = ([-+.e\d]+)", text).group(1))


def kind_of(name):
    return next((kind for prefix, kind in KINDS if name.startswith(prefix)), "the rest")


def seconds_of(kernel, rates):
    """(seconds, whether memory bounds it)"""
    name, flops, n_bytes = kernel
    at_work, in_memory = flops / rates.get(kind_of(name), float("inf")), n_bytes / rates["memory"]
    return max(at_work, in_memory), in_memory > at_work


def tables(plan, arguments):
    rates = {"attention": arguments.attention, "memory": arguments.memory}
    rates["products"] = rates["grouped products"] = arguments.products
    by_kind, by_kernel = collections.Counter(), collections.defaultdict(lambda: [0, 0.0, False])
    for program, times in (("train", arguments.micro_batches), ("update", 1)):
        for number, _ in plan.programs[program]:
            kernel = plan.kernels[number]
            seconds, is_in_memory = seconds_of(kernel, rates)
            kind = kind_of(kernel[0])
            kind = kind + ", bound by memory" if is_in_memory and kind != "the rest" else kind
            by_kind["AdamW" if program == "update" else kind] += times * seconds
            entry = by_kernel[number]
            entry[0], entry[1], entry[2] = entry[0] + times, entry[1] + times * seconds, is_in_memory
    return by_kind, by_kernel


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("source")
    parser.add_argument("--micro-batches", type=int, required=True)
    parser.add_argument("--products", type=float, default=675e12)
    parser.add_argument("--attention", type=float, default=500e12)
    parser.add_argument("--memory", type=float, default=2.5e12)
    parser.add_argument("--peak", type=float, default=989e12)
    parser.add_argument("--rows", type=int, default=25)
    arguments = parser.parse_args()
    with open(arguments.source) as file:
        plan = Plan(file.read())
    by_kind, by_kernel = tables(plan, arguments)
    step = sum(by_kind.values())
    for kind, seconds in by_kind.most_common():
        print(f"{1e3 * seconds:9.1f} ms  {100 * seconds / step:5.1f} %  {kind}")
    tokens = plan.tokens * arguments.micro_batches
    mfu = tokens * plan.flops_per_token / step / arguments.peak
    print(f"{1e3 * step:9.1f} ms a step of {tokens:.0f} tokens: {tokens / step:.0f} tokens/s, MFU {100 * mfu:.1f} %\n")
    print("  ms a step  launches  bound by         GFLOP        MB  kernel")
    for number, (n, seconds, is_in_memory) in sorted(by_kernel.items(), key=lambda entry: -entry[1][1])[
        : arguments.rows
    ]:
        name, flops, n_bytes = plan.kernels[number]
        bound = "memory" if is_in_memory else "operations"
        print(f"  {1e3 * seconds:9.2f}  {n:8}  {bound:10}  {flops / 1e9:10.1f}  {n_bytes / 1e6:8.1f}  {name}")


main()
