"""The two sides of the benchmark: an executable that moec built, and PyTorch in a process that waits for its turn."""

import array
import json
import os
import random
import statistics
import subprocess
import sys
import time

HERE = os.path.dirname(os.path.abspath(__file__))
WARM_UP = 1  # steps of ours before those that count; PyTorch's process has had its own before the rounds


class Failure(Exception):
    pass


class Sample:
    """Of one turn: seconds of its steps, losses, MiB of the process at most; of ours also what its log says."""

    def __init__(self, seconds, losses, peak_mib, **more):
        self.seconds, self.losses, self.peak_mib = statistics.median(seconds), losses, peak_mib
        self.imported_mib, self.share, self.flops = more.get("imported_mib", 0), more.get("share"), more.get("flops")


class Model:
    """A model of the benchmark, and its files in `folder`: tokens, a dense checkpoint, what either side starts from."""

    def __init__(self, moec, folder, name, sizes, is_moe):
        self.moec, self.name, self.sizes, self.is_moe = moec, name, sizes, is_moe
        self.folder = os.path.join(folder, name)
        self.tokens = sizes["B"] * sizes["T"]
        os.makedirs(self.folder, exist_ok=True)

    def path(self, name):
        return os.path.join(self.folder, name)

    def build(self, name, *arguments, is_dense=False):
        """The executable's path."""
        command = [self.moec, "build", os.path.join(HERE, "llama.moe"), "--quiet", "-o", self.path(name), *arguments]
        for size, value in self.sizes.items():
            command += ["-D", f"{size}={value}"]
        run_checked(command + (["--dense"] if is_dense else []))
        return self.path(name)

    def prepare(self):
        """Random tokens, of which every step gets all, so that their order does not matter; and a random dense
        checkpoint, as the executable of the dense model makes it."""
        ids = random.Random(1)
        with open(self.path("tokens.bin"), "wb") as file:
            array.array("H", [ids.randrange(self.sizes["vocab"]) for _ in range(self.tokens + 1)]).tofile(file)
        remove(self.path("dense.weights"))
        run_checked([self.build("dense", is_dense=True), "--steps", "0", "--export", self.path("dense.weights")])

    def export(self, executable):
        """What `executable` starts from, the router's weights too, in a folder that PyTorch reads."""
        remove(self.path("start.weights"))
        dense = ["--weights", self.path("dense.weights")]
        run_checked([executable, *dense, "--steps", "0", "--export", self.path("start.weights")])
        return self.path("start.weights")


def remove(folder):
    subprocess.run(["rm", "-rf", folder], check=True)


def run_checked(command):
    result = subprocess.run(command, capture_output=True, text=True)
    if result.returncode != 0:
        sys.exit(f"bench: {' '.join(command)} failed:\n{result.stdout}{result.stderr}")
    return result.stdout


class Executable:
    """An executable of `model`; each turn is a process of its own, which measures the machine's ceiling first."""

    def __init__(self, model, path):
        self.model, self.executable, self.log = model, path, path + ".jsonl"
        self.parameters = None

    def run(self, n_steps):
        remove(self.log)
        command = [self.executable, "--weights", self.model.path("dense.weights"), "--data"]
        command += [self.model.path("tokens.bin"), "--steps", str(WARM_UP + n_steps), "--log", self.log, "--quiet"]
        process = subprocess.Popen(command)
        _, code, usage = os.wait4(process.pid, 0)
        if code != 0:
            sys.exit(f"bench: {' '.join(command)} failed")
        with open(self.log) as file:
            start, *steps = map(json.loads, file)
        self.parameters = start["parameters"]
        timed = steps[WARM_UP:]
        return Sample(
            [step["ms"] / 1e3 for step in timed],
            [step["loss"] for step in steps],
            usage.ru_maxrss / 1024,
            share=statistics.median(step["share_of_ceiling"] or 0.0 for step in timed),
            flops=start["flops_per_token"] * self.model.tokens,
        )

    def close(self):
        pass


class Peer:
    """PyTorch training from `weights`; the process sleeps between its turns."""

    def __init__(self, model, python, weights, arguments, environment):
        command = [python, os.path.join(HERE, "torch_train.py"), "--weights", weights]
        command += ["--data", model.path("tokens.bin"), "--sequence", str(model.sizes["T"]), *arguments]
        self.errors = model.path("torch" + "".join(arguments) + ".err")
        with open(self.errors, "w") as errors:
            self.process = subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                text=True,
                env=os.environ | environment,
            )
        started = self.read()
        self.torch, self.parameters = started["torch"], started["parameters"]
        self.losses = []

    def read(self):
        line = self.process.stdout.readline()
        if not line:
            self.close()
            with open(self.errors) as errors:
                lines = errors.read().strip().splitlines()
            raise Failure(f"PyTorch failed: {lines[-1] if lines else 'no message'} (see {self.errors})")
        return json.loads(line)

    def run(self, n_steps):
        self.process.stdin.write(f"{n_steps}\n")
        self.process.stdin.flush()
        answer = self.read()
        self.losses += answer["losses"]
        return Sample(answer["seconds"], self.losses, answer["peak_mib"], imported_mib=answer["imported_mib"])

    def close(self):
        self.process.stdin.close()
        self.process.wait()


# ---- Which BLAS ------------------------------------------------------------------------------------------------------

BLAS_PROBE = """
import time, torch
a, b, best = torch.randn(2048, 1024), torch.randn(1024, 1024), 0.0
start = time.perf_counter()
while time.perf_counter() - start < 1.0:
    begin = time.perf_counter()
    a @ b
    best = max(best, 2.0 * 2048 * 1024 * 1024 / (time.perf_counter() - begin))
print(best)
"""


def find_openblas():
    folder = "/usr/lib"
    for machine in os.listdir(folder):
        path = os.path.join(folder, machine, "openblas-openmp", "libopenblas.so")
        if os.path.exists(path):
            return path
    return None


def choose_blas(python):
    """(environment of PyTorch, what to say of it): its own BLAS, or OpenBLAS put before it, whichever is faster."""
    found, openblas = [], find_openblas()
    for name, environment in [("its own", {})] + ([("OpenBLAS", {"LD_PRELOAD": openblas})] if openblas else []):
        rate = float(run_checked_with([python, "-c", BLAS_PROBE], environment))
        found.append((rate, name, environment))
    rate, name, environment = max(found, key=lambda entry: entry[0])
    rates = ", ".join(f"{entry[1]} {entry[0] / 1e9:.0f} GFLOP/s" for entry in found)
    return environment, f"{name} ({rates})"


def run_checked_with(command, environment):
    result = subprocess.run(command, capture_output=True, text=True, env=os.environ | environment)
    if result.returncode != 0:
        sys.exit(f"bench: {command[0]} failed:\n{result.stderr}")
    return result.stdout


# ---- Rounds ----------------------------------------------------------------------------------------------------------


def run_rounds(sides, n_rounds, n_steps):
    """{name: samples}, a sample a round; in every round each side has its turn, so that drift of the machine meets
    all of them. A side that fails is left out from there on."""
    samples = {name: [] for name in sides}
    for _ in range(n_rounds):
        for name, side in list(sides.items()):
            try:
                samples[name].append(side.run(n_steps))
            except Failure as failure:
                print(f"{name}: {failure}", file=sys.stderr)
                del sides[name], samples[name]
    return samples


class Spread:
    """Median, least and greatest of some values."""

    def __init__(self, values):
        self.middle, self.least, self.greatest = statistics.median(values), min(values), max(values)

    def text(self, form):
        return f"{self.middle:{form}} ({self.least:{form}}..{self.greatest:{form}})"

    def json(self):
        return {"median": self.middle, "least": self.least, "greatest": self.greatest}


def ratio(theirs, ours):
    """How many times faster ours is, round by round."""
    return Spread([their.seconds / our.seconds for their, our in zip(theirs, ours)])


class Clock:
    def __init__(self):
        self.start = time.monotonic()

    def text(self):
        seconds = time.monotonic() - self.start
        return f"{int(seconds // 60)} min {int(seconds % 60)} s"
