"""What the checks on a GPU share: commands with time limits, what nvidia-smi says meanwhile, results as files."""

import json
import os
import subprocess
import threading
import time


class Skipped(Exception):
    """A part that this machine cannot do; says why."""


class Failed(Exception):
    def __init__(self, reason, results=None):
        """`results`: what was found nevertheless."""
        super().__init__(reason)
        self.results = results


class Outcome:
    def __init__(self, code, out, err, seconds, is_late):
        self.code, self.out, self.err, self.seconds, self.is_late = code, out, err, seconds, is_late

    def tail(self):
        return "\n".join((self.out + self.err).strip().splitlines()[-8:])


class Context:
    """Where everything is, and how long all may take."""

    def __init__(self, programs, out, is_quick, seconds, python):
        self.programs, self.out, self.is_quick, self.python = programs, out, is_quick, python
        self.work = os.path.join(out, "work")
        self.end = time.monotonic() + seconds
        self.environment = dict(os.environ, MOEC_CACHE_DIR=os.path.join(self.work, "cache"))
        libraries = os.path.join(programs, "lib")
        path = self.environment.get("LD_LIBRARY_PATH")
        self.environment["LD_LIBRARY_PATH"] = f"{libraries}:{path}" if path else libraries
        os.makedirs(self.work, exist_ok=True)

    def program(self, name):
        return os.path.join(self.programs, name)

    def file(self, name):
        return os.path.join(self.work, name)

    def left(self):
        return self.end - time.monotonic()

    def run(self, command, limit, **environment):
        """Ends the command, and what it started, after `limit` seconds or when all time is used up."""
        limit = min(limit, self.left())
        if limit <= 1:
            raise Skipped("no time was left")
        start = time.monotonic()
        process = subprocess.Popen(
            command,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=self.environment | environment,
            start_new_session=True,
        )
        try:
            out, err = process.communicate(timeout=limit)
            return Outcome(process.returncode, out, err, time.monotonic() - start, False)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, 9)
            out, err = process.communicate()
            return Outcome(process.returncode, out, err, time.monotonic() - start, True)

    def run_checked(self, command, limit, **environment):
        outcome = self.run(command, limit, **environment)
        if outcome.is_late:
            raise Failed(f"{os.path.basename(command[0])} took more than {outcome.seconds:.0f} s\n{outcome.tail()}")
        if outcome.code != 0:
            raise Failed(f"{' '.join(command)}: exit code {outcome.code}\n{outcome.tail()}")
        return outcome

    def write(self, name, results):
        """Whole or not at all."""
        path = os.path.join(self.out, name + ".json")
        with open(path + ".new", "w") as file:
            json.dump(results, file, indent=2)
            file.write("\n")
        os.replace(path + ".new", path)


def read_log(path):
    """(the event "start", those of steps) of what an executable wrote with --log."""
    with open(path) as file:
        events = [json.loads(line) for line in file]
    starts = [event for event in events if event["event"] == "start"]
    return (starts[0] if starts else None), [event for event in events if event["event"] == "step"]


class Card:
    """Asks nvidia-smi now and then, as long as the block runs: memory used at most, clocks, power, temperature."""

    FIELDS = ("memory.used", "clocks.sm", "clocks.mem", "power.draw", "temperature.gpu")

    def __init__(self):
        self.samples, self.ended = [], threading.Event()
        self.before = self.ask()

    def ask(self):
        command = ["nvidia-smi", "--query-gpu=" + ",".join(self.FIELDS), "--format=csv,noheader,nounits", "--id=0"]
        try:
            text = subprocess.run(command, capture_output=True, text=True, timeout=10).stdout
            return [float(word) for word in text.split(",")]
        except (OSError, ValueError, subprocess.TimeoutExpired):
            return None

    def __enter__(self):
        self.thread = threading.Thread(target=self.watch, daemon=True)
        self.thread.start()
        return self

    def watch(self):
        while self.before and not self.ended.wait(0.25):
            sample = self.ask()
            if sample:
                self.samples.append(sample)

    def __exit__(self, *_):
        self.ended.set()
        self.thread.join()

    def report(self):
        """MiB are of the process under watch: what was used before is taken off."""
        if not self.samples:
            return None
        columns = dict(zip(self.FIELDS, zip(*self.samples)))
        busy = sorted(columns["clocks.sm"])
        return {
            "peak_mib": max(columns["memory.used"]) - self.before[0],
            "sm_mhz": {"least": busy[0], "median": busy[len(busy) // 2], "greatest": busy[-1]},
            "memory_mhz": max(columns["clocks.mem"]),
            "watts": max(columns["power.draw"]),
            "celsius": max(columns["temperature.gpu"]),
        }
