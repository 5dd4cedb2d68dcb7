"""Formats every model below models/ and tests/, as it is and with its blanks at random.

    python3 check_format.py ROOT SCRATCH_DIR

Formatting changes nothing but blanks, a second time nothing at all, and the program not. Standard library only.
"""

import os
import random
import re
import shutil
import subprocess
import sys

TOKEN = re.compile(r'#[^\n]*|"(?:[^"\\\n]|\\.)*"|\.\.|[0-9][0-9_]*(?:\.[0-9]+)?(?:[eE][-+]?[0-9]+)?|\w+|\S')
LOCATION = re.compile(r" @\d+:\d+:\d+")


def moec(*arguments):
    return subprocess.run(["moec", *arguments], capture_output=True, text=True)


def tokens(text):
    return [token.rstrip() for token in TOKEN.findall(text)]


def scramble(text, random_source):
    """The same tokens with other blanks between them; what ends a comment stays a line end."""
    out = []
    for token in TOKEN.findall(text):
        out.append(token)
        out.append("\n" if token.startswith("#") else random_source.choice([" ", " ", "  ", "\n", "\n\n\n", "\t"]))
    return "".join(out)


def check(path, scratch):
    """False: the file is no model."""
    first = moec("fmt", path)
    if first.returncode != 0:
        assert first.stdout == "", f"{path}: something was printed after an error"
        return False
    with open(path) as file:
        assert tokens(file.read()) == tokens(first.stdout), f"{path}: the tokens have changed"
    again = os.path.join(scratch, "again.moe")
    with open(again, "w") as file:
        file.write(first.stdout)
    second = moec("fmt", again)
    assert second.stdout == first.stdout, f"{path}: formatting twice is not formatting once:\n{first.stdout}"
    return True


def program(path):
    result = moec("emit", path, "--after=lower", "-D", "layers=1")
    assert result.returncode == 0, result.stderr
    return LOCATION.sub("", result.stdout)


def check_program(models, name, random_source):
    path = os.path.join(models, name)
    before = program(path)
    with open(path) as file:
        text = scramble(file.read(), random_source)
    with open(path, "w") as file:
        file.write(text)
    result = moec("fmt", "--write", path)
    assert result.returncode == 0, result.stderr
    assert program(path) == before, f"{name}: formatting has changed the program"


def main():
    root, scratch = sys.argv[1:]
    random_source = random.Random(0)
    paths = sorted(
        os.path.join(folder, name)
        for top in ("models", "tests")
        for folder, _, names in os.walk(os.path.join(root, top))
        for name in names
        if name.endswith(".moe")
    )
    n_models = 0
    for path in paths:
        n_models += check(path, scratch)
        scrambled = os.path.join(scratch, "scrambled.moe")
        with open(path, encoding="utf-8", errors="replace") as source, open(scrambled, "w") as file:
            file.write(scramble(source.read(), random_source))
        check(scrambled, scratch)
    assert n_models > 15, n_models
    models = os.path.join(scratch, "models")
    shutil.copytree(os.path.join(root, "models"), models)
    names = sorted(name for name in os.listdir(models) if name.endswith(".moe"))
    for name in names:
        check_program(models, name, random_source)
    for name in names:
        path = os.path.join(root, "models", name)
        with open(path) as file:
            assert moec("fmt", path).stdout == file.read(), f"{path} does not have the layout: run moec fmt -w"


main()
