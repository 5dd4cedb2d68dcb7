"""check_plan.py MOST: each graph of the planned module on standard input needs at most MOST times its lower bound."""
import re
import sys

plans = re.findall(r"^graph (\w+) attrs \{.*?arena_bytes = (\d+), lower_bound = (\d+)", sys.stdin.read(), re.M)
assert len(plans) == 4, plans
for name, arena_bytes, lower_bound in plans:
    assert int(arena_bytes) <= float(sys.argv[1]) * int(lower_bound), (name, arena_bytes, lower_bound)
