#!/usr/bin/env python3
"""Everything that only a GPU can show, in one run.

    check.py --programs DIR --out DIR [--quick] [--only PART,..] [--seconds N]

DIR of --programs is what programs.py made. Parts run in order, each within a time of its own; PART.json is written as
soon as a part has ended, summary.json and summary.txt at the end. What a machine cannot do is said with its reason. With
--quick all is small, for the GPU in software that tests use. Exit code 1: a part failed; 2: there is no CUDA device.
"""

import argparse
import datetime
import json
import os
import platform
import subprocess
import sys
import time

import bench
import numeric
from machine import Context, Failed, Skipped

# name: (what is shown of it, function)
PARTS = {
    "forms": ("kernels against the interpreter", numeric.check_kernels),
    "reference": ("three steps against transformers", numeric.check_steps),
    "curve": ("200 steps against the CPU's", numeric.check_curve),
    "sanitizer": ("compute-sanitizer over the kernels", numeric.check_sanitizer),
    "kernels": ("kernels one by one beside PyTorch's", bench.bench_kernels),
    "steps": ("training steps beside PyTorch's", bench.bench_steps),
}
QUICK_PARTS = "forms,reference,curve,kernels"


def parse_arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--programs", required=True)
    parser.add_argument("--out", default=os.environ.get("OUT", "build/gpu-check"))
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--only", help=f"of {', '.join(PARTS)}")
    parser.add_argument("--seconds", type=float, default=530.0, help="that all may take")
    arguments = parser.parse_args()
    wanted = (arguments.only or (QUICK_PARTS if arguments.quick else ",".join(PARTS))).split(",")
    unknown = [name for name in wanted if name not in PARTS]
    if unknown:
        parser.error(f"--only: found {', '.join(unknown)}, expected of {', '.join(PARTS)}")
    arguments.only = wanted
    return arguments


# ---- The machine -----------------------------------------------------------------------------------------------------


def find_python():
    """One that has PyTorch; None: there is none."""
    named = os.environ.get("MOEC_BENCH_PYTHON")
    for python in [named] if named else [sys.executable, "python3"]:
        command = [python, "-c", "import sys, torch; print(sys.prefix)"]
        try:
            result = subprocess.run(command, capture_output=True, text=True, timeout=60)
        except (OSError, subprocess.TimeoutExpired):
            continue
        if result.returncode == 0:
            # CUDA's libraries may be packages of this Python.
            os.environ.setdefault("VIRTUAL_ENV", result.stdout.strip().splitlines()[-1])
            return python
    return None


def version_of(python):
    if not python:
        return None
    code = "import torch, json; print(json.dumps([torch.__version__, torch.version.cuda]))"
    result = subprocess.run([python, "-c", code], capture_output=True, text=True)
    return json.loads(result.stdout) if result.returncode == 0 else None


def find_device(context):
    """What the kernels' benchmark says of the device; ends the run where there is none."""
    outcome = context.run([context.program("cuda_kernel_bench"), *(["--quick"] if context.is_quick else [])], 60)
    if outcome.code != 0:
        print(outcome.err.strip() or "not measured: no CUDA device", file=sys.stderr)
        context.write("summary", {"device": None, "why": outcome.err.strip()})
        sys.exit(2 if outcome.code == 2 else 1)
    return json.loads(outcome.out.splitlines()[0])


def describe(context, device):
    try:
        with open(context.program("built")) as file:
            commit = file.read().strip()
    except OSError:
        commit = None
    return {
        "date": datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%d %H:%M:%SZ"),
        "commit": commit,
        "device": device,
        "host": platform.processor() or platform.machine(),
        "cores": os.cpu_count(),
        "torch": version_of(context.python),
    }


# ---- Parts -----------------------------------------------------------------------------------------------------------


def run_part(context, name):
    """{"status": passed, skipped or failed, "seconds", and results, the reason or both}"""
    title, function = PARTS[name]
    start, part = time.monotonic(), {}
    print(f"{title} ...", flush=True)
    try:
        part = {"status": "passed", "results": function(context)}
    except Skipped as reason:
        part = {"status": "skipped", "reason": str(reason)}
    except Failed as reason:
        part = {"status": "failed", "reason": str(reason)} | ({"results": reason.results} if reason.results else {})
    except Exception as error:  # a fault of ours must not cost the parts behind it
        part = {"status": "failed", "reason": f"{type(error).__name__}: {error}"}
    part["seconds"] = round(time.monotonic() - start, 1)
    context.write(name, part)
    print(f"  {part['status']} ({part['seconds']} s) {part.get('reason', '')}".rstrip(), flush=True)
    return part


def main():
    arguments = parse_arguments()
    os.makedirs(arguments.out, exist_ok=True)
    context = Context(arguments.programs, arguments.out, arguments.quick, arguments.seconds, find_python())
    machine = describe(context, find_device(context))
    print(f"{machine['device']['device']}, PyTorch {machine['torch'] or 'is missing'}", flush=True)
    parts = {name: run_part(context, name) for name in arguments.only}
    lines, rows = bench.summary({name: part.get("results") for name, part in parts.items()})
    statuses = {name: part["status"] for name, part in parts.items()}
    context.write("summary", machine | {"parts": statuses, "targets": rows})
    text = "\n".join(lines + ["", *(f"{PARTS[name][0]}: {status}" for name, status in statuses.items())])
    with open(os.path.join(arguments.out, "summary.txt"), "w") as file:
        file.write(text + "\n")
    print(text)
    sys.exit(1 if "failed" in statuses.values() else 0)


if __name__ == "__main__":
    main()
