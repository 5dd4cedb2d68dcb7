"""check_chunks.py WHOLE CHUNKS SMALL: three plans of GPT-2 with 1024 tokens; without chunks of its logits, with chunks of
256 rows, with chunks of 128."""
import re
import sys

LOGITS = 1024 * 50257 * 4


def read(path):
    text = open(path).read()
    rows = re.findall(r"^  (\w+) +(\d+) +(\d+) +[\d.]+$", text, re.M)
    launches = {name: int(n) for name, n, _ in rows}
    n_bytes = {name: int(n) for name, _, n in rows}
    return launches, n_bytes, int(re.search(r"^kernels +(\d+) distinct", text, re.M)[1])


whole, chunks, small = map(read, sys.argv[1:])
for graph in "train", "eval":
    assert whole[1][graph] > LOGITS
    assert chunks[1][graph] < whole[1][graph] - 0.4 * LOGITS, graph
    assert chunks[0][graph] < small[0][graph], graph
assert small[1]["eval"] < chunks[1]["eval"]
# Of "train" with chunks the peak is elsewhere: the embedding's gradient.
assert small[1]["train"] <= chunks[1]["train"]
# Chunks of one size share their kernels: twice as many chunks, and no more but for one that adds up their sums.
assert small[2] <= chunks[2] + 1, (small[2], chunks[2])
