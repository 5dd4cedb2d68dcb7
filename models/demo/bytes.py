"""Writes text files as bytes, one token id each, into train.bin and val.bin (llm.c's format). Standard library only.

    python3 bytes.py TEXT_DIR OUT_DIR

Every text file is a document that ends with byte 0. Every 20th file, in the order of their names, goes to val.bin.
"""

import array
import os
import sys

MAGIC, VERSION, END_OF_TEXT, VALIDATION_STRIDE = 20240520, 1, 0, 20


def main():
    if len(sys.argv) != 3:
        sys.exit("usage: bytes.py TEXT_DIR OUT_DIR")
    paths = sorted(
        os.path.join(folder, name)
        for folder, _, names in os.walk(sys.argv[1])
        for name in names
        if name.endswith(".txt")
    )
    if not paths:
        sys.exit(f"bytes: no .txt files below {sys.argv[1]}")
    parts = {"train": array.array("H"), "val": array.array("H")}
    for i, path in enumerate(paths):
        with open(path, "rb") as file:
            parts["val" if i % VALIDATION_STRIDE == 0 else "train"].extend(file.read() + bytes([END_OF_TEXT]))
    os.makedirs(sys.argv[2], exist_ok=True)
    for name, ids in parts.items():
        path = os.path.join(sys.argv[2], name + ".bin")
        with open(path + ".tmp", "wb") as file:
            array.array("i", [MAGIC, VERSION, len(ids)] + [0] * 253).tofile(file)
            ids.tofile(file)
        os.replace(path + ".tmp", path)
        print(f"{name}.bin: {len(ids)} tokens")


if __name__ == "__main__":
    main()
