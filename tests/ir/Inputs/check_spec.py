"""check_spec.py ROOT MOEC: reads every fenced example of IR in spec/*.md with `moec opt`; compares the ops that
spec/ir.md describes with ir/ops.def."""
import pathlib
import re
import subprocess
import sys

root, moec = pathlib.Path(sys.argv[1]), sys.argv[2]


def opt(text, *flags):
    run = subprocess.run([moec, "opt", *flags, "/dev/stdin"], input=text, capture_output=True, text=True)
    return run.stdout if run.returncode == 0 else sys.exit(f"{text}\n{run.stderr}")


n_examples = 0
for path in sorted((root / "spec").glob("*.md")):
    for example in re.findall(r"^```\n(module \w+\n\n.*?)^```$", path.read_text(), re.M | re.S):
        printed = opt(example)
        assert opt(printed) == printed
        n_examples += 1
        # What the examples of these passes say is what the passes leave.
        if example.startswith("module chunks"):
            assert opt(printed, "--pass", "chunk") == printed
        if example.startswith("module layout"):
            assert opt(printed, "--pass", "layout") == printed
        if example.startswith(("module memory", "module kernels")):
            assert opt(printed, "--pass", "memory") == printed
assert n_examples >= 4, n_examples

ops = re.findall(r"^OP\((\w+),", (root / "ir/ops.def").read_text(), re.M)
section = (root / "spec/ir.md").read_text().split("## Ops")[1].split("## Invariants")[0]
described = set()
for row in re.findall(r"^\| (`[^|]*) \|", section, re.M):
    for code in re.findall(r"`([^`]*)`", row):
        described |= set(re.findall(r"\b\w+\b", re.sub(r"\{.*", "", code)))
missing = [op for op in ops if op not in described]
assert not missing, f"spec/ir.md does not describe {missing}"
