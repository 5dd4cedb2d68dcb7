"""Measures how long moec takes from text to plan, and how that grows with the number of layers.

    python3 compile_time.py MOEC MODEL.moe [RUNS]

Every run is a process of its own; rounds go through all layer counts in turn, so that drift of the machine meets all of
them alike. Prints the median, least and greatest seconds, the peak memory, and the ratio to the model of half the
layers: 2 is linear.
"""

import os
import statistics
import subprocess
import sys
import time

LAYERS = (4, 8, 16, 32, 64)


def measure(command):
    start = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    _, code, usage = os.wait4(process.pid, 0)
    seconds = time.perf_counter() - start
    if code != 0:
        sys.exit(f"compile_time: {' '.join(command)} failed")
    return seconds, usage.ru_maxrss / 1024


def main():
    if len(sys.argv) not in (3, 4):
        sys.exit("usage: compile_time.py MOEC MODEL.moe [RUNS]")
    moec, model = sys.argv[1:3]
    runs = int(sys.argv[3]) if len(sys.argv) == 4 else 7
    seconds = {layers: [] for layers in LAYERS}
    memory = {layers: 0.0 for layers in LAYERS}
    for _ in range(runs):
        for layers in LAYERS:
            taken, megabytes = measure([moec, "emit", "--after=plan", "-D", f"layers={layers}", model])
            seconds[layers].append(taken)
            memory[layers] = max(memory[layers], megabytes)
    print(f"{os.path.basename(model)}, text to plan, {runs} runs each")
    print("layers  median s   least  greatest  peak MB  ratio to half the layers")
    for layers in LAYERS:
        ratios = [a / b for a, b in zip(seconds[layers], seconds.get(layers // 2, []))]
        ratio = f"{statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})" if ratios else ""
        print(
            f"{layers:6}  {statistics.median(seconds[layers]):8.3f}  {min(seconds[layers]):6.3f}"
            f"  {max(seconds[layers]):8.3f}  {memory[layers]:7.0f}  {ratio}"
        )


main()
