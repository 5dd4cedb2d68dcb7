"""Compares the losses that runs wrote with --log.

    python3 losses.py within TOLERANCE LOG LOG...    every log has the losses of the first; 0: the same bits
    python3 losses.py apart TOLERANCE LOG LOG...     every loss differs from the first log's by more
    python3 losses.py norms TOLERANCE LOG LOG...     as within, of the gradients' norms

A loss is that of an event step, validate or eval; the tolerance is relative.
"""

import json
import sys

EVENTS = ("step", "validate", "eval")


def read(path, how):
    names, value = (("step",), "grad_norm") if how == "norms" else (EVENTS, "loss")
    with open(path) as file:
        events = [json.loads(line) for line in file]
    return {(event["event"], event.get("step")): event[value] for event in events if event["event"] in names}


def difference(a, b):
    return abs(a - b) / max(abs(a), abs(b))


def main():
    how, tolerance, paths = sys.argv[1], float(sys.argv[2]), sys.argv[3:]
    expected = read(paths[0], how)
    if not expected or len(paths) < 2:
        sys.exit(f"{paths[0]}: nothing to compare")
    for path in paths[1:]:
        found = read(path, how)
        if found.keys() != expected.keys():
            sys.exit(f"{path}: has the events {list(found)}; {paths[0]} has {list(expected)}")
        for event, loss in expected.items():
            apart = difference(loss, found[event])
            if how != "apart" and not apart <= tolerance:
                sys.exit(f"{path}: {event}: {found[event]!r}, expected {loss!r}: {apart:.1e} apart")
            if how == "apart" and apart <= tolerance:
                sys.exit(f"{path}: {event}: {found[event]!r} is that of {paths[0]}, {loss!r}; expected another")


main()
