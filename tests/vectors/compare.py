"""Compares the tensors of two safetensors files; needs Python's standard library only.

    python3 compare.py EXPECTED ACTUAL TOLERANCE [PREFIX...]

Every tensor of EXPECTED (whose name starts with one of the prefixes, if any are given) must be in ACTUAL with the same
shape, and the largest difference must be at most TOLERANCE times the largest magnitude expected. F32 only.
"""

import array
import json
import struct
import sys


def read(path):
    with open(path, "rb") as file:
        (length,) = struct.unpack("<Q", file.read(8))
        header = json.loads(file.read(length))
        data = file.read()
    tensors = {}
    for name, entry in header.items():
        if name == "__metadata__":
            continue
        assert entry["dtype"] == "F32", f"{path}: {name} is {entry['dtype']}"
        begin, end = entry["data_offsets"]
        tensors[name] = (entry["shape"], array.array("f", data[begin:end]))
    return tensors


def difference(expected, actual):
    scale = max((abs(x) for x in expected), default=0.0)
    worst = max((abs(x - y) if x == x and y == y else float("inf") for x, y in zip(expected, actual)), default=0.0)
    return worst / scale if scale > 0 else worst


def main():
    expected, actual = read(sys.argv[1]), read(sys.argv[2])
    tolerance, prefixes = float(sys.argv[3]), tuple(sys.argv[4:]) or ("",)
    compared, failures, worst = 0, 0, (0.0, "none")
    for name, (shape, values) in expected.items():
        if not name.startswith(prefixes):
            continue
        compared += 1
        if name not in actual:
            print(f"{name}: missing; there are {', '.join(list(actual)[:8])} ...")
            failures += 1
            continue
        if actual[name][0] != shape:
            print(f"{name}: shape {actual[name][0]}, expected {shape}")
            failures += 1
            continue
        error = difference(values, actual[name][1])
        worst = max(worst, (error, name))
        if not error <= tolerance:
            print(f"{name}: relative error {error:.2e}, allowed {tolerance:.0e}")
            failures += 1
    print(f"{compared} tensors, {failures} differ, worst {worst[0]:.2e} ({worst[1]})")
    sys.exit(0 if failures == 0 and compared > 0 else 1)


main()
