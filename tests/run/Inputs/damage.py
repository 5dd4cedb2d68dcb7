"""Copies a model directory and damages the copy.

    python3 damage.py FROM TO HOW

HOW is one of the functions below.
"""

import json
import shutil
import struct
import sys

NAME = "model.layers.1.mlp.up_proj.weight"


def read(path):
    with open(path, "rb") as file:
        (length,) = struct.unpack("<Q", file.read(8))
        return json.loads(file.read(length)), file.read()


def write(path, header, data):
    text = json.dumps(header).encode()
    with open(path, "wb") as file:
        file.write(struct.pack("<Q", len(text)) + text + data)


def cut(path, header, data):
    """The last 100 bytes are missing."""
    write(path, header, data[:-100])


def cut_header(path, header, data):
    """The header says more bytes than there are."""
    with open(path, "wb") as file:
        file.write(struct.pack("<Q", 1 << 20) + b"{")


def overlap(path, header, data):
    """One tensor's offsets are those of another."""
    others = [entry for name, entry in header.items() if name != NAME and entry.get("shape") == header[NAME]["shape"]]
    header[NAME]["data_offsets"] = others[0]["data_offsets"]
    write(path, header, data)


def overflow(path, header, data):
    """A shape whose number of elements does not fit in 64 bits."""
    header[NAME]["shape"] = [1 << 40, 1 << 40]
    write(path, header, data)


def missing(path, header, data):
    """One tensor has another name."""
    write(path, {key.replace(NAME, NAME + "s"): entry for key, entry in header.items()}, data)


def misshapen(path, header, data):
    """One tensor lies the other way round."""
    header[NAME]["shape"].reverse()
    write(path, header, data)


def dtype(path, header, data):
    """One tensor is of integers."""
    header[NAME]["dtype"] = "I32"
    write(path, header, data)


def nan(path, header, data):
    """One value is NaN."""
    at = header[NAME]["data_offsets"][0]
    write(path, header, data[:at] + struct.pack("<f", float("nan")) + data[at + 4 :])


def main():
    source, target, how = sys.argv[1:4]
    shutil.copytree(source, target)
    path = f"{target}/model.safetensors"
    {f.__name__: f for f in (cut, cut_header, overlap, overflow, missing, misshapen, dtype, nan)}[how](
        path, *read(path)
    )


main()
