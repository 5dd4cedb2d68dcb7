"""Tokenises text files into train.bin and val.bin (llm.c's format: 256 int32 of header, then uint16 ids).

    python3 tokenise.py TOKENIZER.json TEXT_DIR OUT_DIR

Every text file is a document that ends with the tokenizer's id 0 (<|endoftext|>). Every 20th file, in the order of
their names, goes to val.bin.
"""

import os
import sys

import numpy
from tokenizers import Tokenizer

MAGIC, VERSION, END_OF_TEXT, VALIDATION_STRIDE = 20240520, 1, 0, 20


def write_tokens(path, ids):
    header = numpy.zeros(256, dtype=numpy.int32)
    header[:3] = MAGIC, VERSION, len(ids)
    with open(path + ".tmp", "wb") as file:
        file.write(header.tobytes())
        file.write(numpy.array(ids, dtype=numpy.uint16).tobytes())
    os.replace(path + ".tmp", path)


def main():
    if len(sys.argv) != 4:
        sys.exit("usage: tokenise.py TOKENIZER.json TEXT_DIR OUT_DIR")
    tokenizer = Tokenizer.from_file(sys.argv[1])
    if tokenizer.get_vocab_size() > 65536:
        sys.exit(f"tokenise: {tokenizer.get_vocab_size()} ids do not fit the format's 16 bits")
    paths = sorted(
        os.path.join(folder, name)
        for folder, _, names in os.walk(sys.argv[2])
        for name in names
        if name.endswith(".txt")
    )
    if not paths:
        sys.exit(f"tokenise: no .txt files below {sys.argv[2]}")
    parts = {"train": [], "val": []}
    for i, path in enumerate(paths):
        with open(path, encoding="utf-8") as file:
            ids = tokenizer.encode(file.read(), add_special_tokens=False).ids
        parts["val" if i % VALIDATION_STRIDE == 0 else "train"] += ids + [END_OF_TEXT]
    for name, ids in parts.items():
        write_tokens(os.path.join(sys.argv[3], name + ".bin"), ids)
        print(f"{name}.bin: {len(ids)} tokens")


if __name__ == "__main__":
    main()
