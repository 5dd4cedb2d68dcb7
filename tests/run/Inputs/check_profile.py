"""Checks a trace of --profile, and that the table which the run printed is about the same launches.

    python3 check_profile.py TRACE OUTPUT
"""

import json
import math
import re
import sys
from collections import Counter, defaultdict

ARGS = {"value", "source", "flops", "bytes", "GFLOP/s", "GB/s", "share_of_roofline"}
ROW = re.compile(r"^ {10}(\S.*?) {2,}(\d[\d.]*)? +([\d.]+) +(-?[\d.]+)%(.*)$")


def check(holds, what):
    if not holds:
        sys.exit(f"check_profile: {what}")


def read_table(path):
    """{name: (launches, milliseconds, share)}"""
    with open(path) as file:
        rows = [match.groups() for match in map(ROW.match, file) if match]
    return {name: (float(launches or 0), float(ms), float(share)) for name, launches, ms, share, _ in rows}


def check_kernel(event, steps):
    args = event["args"]
    check(args.keys() == ARGS, f"args of {event['name']}: {sorted(args)}")
    check(all(math.isfinite(args[key]) for key in ARGS - {"value", "source"}), f"{event['name']}: {args}")
    check(
        re.match(r"%", args["value"]) and re.search(r"(^|\.moe:\d+:\d+)$", args["source"]), f"{event['name']}: {args}"
    )
    end = event["ts"] + event["dur"]
    check(
        any(step["ts"] <= event["ts"] and end <= step["ts"] + step["dur"] + 0.01 for step in steps),
        f"{event['name']} at {event['ts']} is in no step",
    )


def check_table(table, kernels, steps):
    launches, seconds = Counter(), defaultdict(float)
    for event in kernels:
        launches[event["name"]] += 1 / len(steps)
        seconds[event["name"]] += 1e-3 * event["dur"] / len(steps)
    total = table.pop("a step")
    names = [name for name in table if name in launches]
    for name in names:
        check(math.isclose(table[name][0], launches[name], abs_tol=1e-3), f"launches of {name}: {table[name]}")
        check(math.isclose(table[name][1], seconds[name], abs_tol=2e-3), f"time of {name}: {table[name]}")
    times = [table[name][1] for name in names]
    check(len(times) > 9 and times == sorted(times, reverse=True), "rows are not in order")
    others = table.keys() - set(names) - {"between kernels"}
    is_known = all(name == "packing weights" or re.fullmatch(r"\(\d+ others\)", name) for name in others)
    check("between kernels" in table and is_known, f"rows: {sorted(table)}")
    check(math.isclose(sum(launches.values()), total[0], abs_tol=1e-3), f"launches of a step: {total[0]}")
    for column, slack in ((1, 0.03), (2, 0.3)):
        added = sum(row[column] for row in table.values())
        check(math.isclose(added, total[column], abs_tol=slack), f"column {column} adds up to {added}, not {total}")


def main():
    with open(sys.argv[1]) as file:
        events = [event for event in json.load(file)["traceEvents"] if event["ph"] == "X"]
    steps = [event for event in events if event["cat"] == "step"]
    kernels = [event for event in events if event["cat"] != "step"]
    for event in kernels:
        check_kernel(event, steps)
    check_table(read_table(sys.argv[2]), kernels, steps)
    print("steps", *(event["name"].split()[1] for event in steps))
    print("programs", *sorted({event["cat"] for event in kernels}))


main()
