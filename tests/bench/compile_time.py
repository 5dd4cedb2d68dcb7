"""Measures what moec takes from a model's text to the generated C, and how that grows with the number of layers.

    python3 compile_time.py MOEC MODEL.moe [RUNS]

Every run is a process of its own; rounds go through all layer counts in turn, so that drift of the machine meets all of
them alike. Prints the median, least and greatest processor seconds, the peak memory, and the instructions, which do not
hang on what else the machine does (counted by valgrind where it is installed); behind seconds and instructions stands
the ratio to the model of half the layers. 2 is linear; where a model outgrows a cache, seconds grow by more.
"""

import os
import re
import shutil
import statistics
import subprocess
import sys

LAYERS = (16, 32, 64, 128, 256)


def command_of(moec, model, layers):
    return [moec, "emit", "--after=c", "-D", f"layers={layers}", model]


def measure(command):
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    _, code, usage = os.wait4(process.pid, 0)
    if code != 0:
        sys.exit(f"compile_time: {' '.join(command)} failed")
    return usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024


def count_instructions(command):
    valgrind = ["valgrind", "--tool=callgrind", "--callgrind-out-file=/dev/null"]
    result = subprocess.run(valgrind + command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    found = re.search(r"Collected : (\d+)", result.stderr)
    if result.returncode != 0 or found is None:
        sys.exit(f"compile_time: {' '.join(valgrind + command)} failed:\n{result.stderr}")
    return int(found.group(1))


def ratio(values, layers):
    half = values.get(layers // 2)
    return f"{values[layers] / half:5.2f}" if half else "     "


def main():
    if len(sys.argv) not in (3, 4):
        sys.exit("usage: compile_time.py MOEC MODEL.moe [RUNS]")
    moec, model = sys.argv[1:3]
    runs = int(sys.argv[3]) if len(sys.argv) == 4 else 7
    seconds = {layers: [] for layers in LAYERS}
    memory = {layers: 0.0 for layers in LAYERS}
    for _ in range(runs):
        for layers in LAYERS:
            taken, megabytes = measure(command_of(moec, model, layers))
            seconds[layers].append(taken)
            memory[layers] = max(memory[layers], megabytes)
    medians = {layers: statistics.median(taken) for layers, taken in seconds.items()}
    instructions = {}
    if shutil.which("valgrind"):
        instructions = {layers: count_instructions(command_of(moec, model, layers)) for layers in LAYERS}

    print(f"{os.path.basename(model)}, text to generated C, {runs} runs each")
    print("layers  median s  ratio   least  greatest  peak MB  instructions  ratio")
    for layers in LAYERS:
        counted = f"{instructions[layers]:12.4g}  {ratio(instructions, layers)}" if instructions else "           -"
        print(
            f"{layers:6}  {medians[layers]:8.3f}  {ratio(medians, layers)}  {min(seconds[layers]):6.3f}"
            f"  {max(seconds[layers]):8.3f}  {memory[layers]:7.0f}  {counted}".rstrip()
        )


main()
