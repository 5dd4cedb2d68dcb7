"""check_budget.py MOEC MODEL: of ever smaller budgets, each is kept to, takes no more memory than the one before and
computes no less again, until one is refused."""
import re
import subprocess
import sys

STEPS = 12


def plan(budget):
    command = [sys.argv[1], "emit", "--after=plan", sys.argv[2]] + ([f"--memory-budget={budget}"] if budget else [])
    result = subprocess.run(command, capture_output=True, text=True)
    if result.returncode == 1:
        return None
    assert result.returncode == 0, result.stderr
    total = int(re.search(r"(\d+) in all", result.stdout).group(1))
    again = re.search(r"recomputed .*for ([\d.]+) % more FLOPs", result.stdout)
    return total, float(again.group(1))


def activations(total):
    text = subprocess.run([sys.argv[1], "emit", "--after=plan", sys.argv[2]], capture_output=True, text=True).stdout
    return int(re.search(r"(\d+) activations", text).group(1))


free = plan(None)
most = activations(free[0])
last, kept = free, 0
for step in range(STEPS):
    budget = free[0] - most * step // STEPS
    found = plan(budget)
    if found is None:
        break
    assert found[0] <= budget, (found, budget)
    assert found[0] <= last[0], (found, last)
    assert found[1] >= last[1], (found, last)
    last, kept = found, kept + 1
assert kept > STEPS / 4 and last[1] > free[1], (kept, last, free)
assert found is None, found
