"""Checks that a file of --log has the events and keys that spec/training.md names, and finite numbers.

    python3 check_log.py SPEC LOG
"""

import json
import math
import re
import sys

# Of models without a balance or z loss, and where speed was not measured.
MAY_BE_NULL = {"balance", "z_loss", "share_of_ceiling", "share_with_full_attention"}


def documented(path):
    """{event: keys} of the table under "The log"."""
    with open(path) as file:
        section = file.read().split("## The log")[1].split("\n## ")[0]
    events = {}
    for event, keys in re.findall(r"^\| `(\w+)` \| (.*) \|$", section, re.MULTILINE):
        events[event] = {"event"} | set(re.findall(r"`(\w+)`", keys))
    return events


def check_value(place, value):
    if isinstance(value, float) and not math.isfinite(value):
        sys.exit(f"{place} is {value}")
    if value is None and place.split()[-1] not in MAY_BE_NULL:
        sys.exit(f"{place} is null")


def main():
    events, seen = documented(sys.argv[1]), set()
    with open(sys.argv[2]) as file:
        for number, line in enumerate(file, 1):
            entry = json.loads(line)
            event = entry.get("event")
            if entry.keys() != events.get(event):
                sys.exit(f"line {number}: {event} has {sorted(entry)}, documented are {sorted(events.get(event, []))}")
            for key, value in entry.items():
                check_value(f"line {number}: {event}: {key}", value)
            seen.add(event)
    print(" ".join(sorted(seen)))


main()
