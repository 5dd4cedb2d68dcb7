"""Signals in the middle of runs: the first saves, a second SIGTERM ends at once, SIGKILL leaves a checkpoint.

    python3 interrupt.py PROGRAM INPUTS FOLDER

What was interrupted and resumed must end as the run that was not. The moments are drawn from a seed.
"""

import filecmp
import os
import random
import signal
import subprocess
import sys
import time

PROGRAM, INPUTS, FOLDER = sys.argv[1:4]
KILLS, ATTEMPTS, PATIENCE = 10, 20, 60.0
FOR_EVER = 1000000
rng = random.Random(6)
# Children inherit what is ignored: SIGHUP below nohup, SIGINT in a shell's background.
signal.signal(signal.SIGHUP, signal.SIG_DFL)
signal.signal(signal.SIGINT, signal.default_int_handler)


def command(out, *more):
    common = [PROGRAM, "--data", f"{INPUTS}/train.bin", "--schedule", "constant", "--out", f"{FOLDER}/{out}"]
    return common + [str(word) for word in more]


def fail(text):
    sys.exit(f"interrupt: {text}")


def run(*words):
    result = subprocess.run(command(*words), capture_output=True, text=True)
    if result.returncode != 0:
        fail(f"{' '.join(words[0:1])}: exit code {result.returncode}: {result.stderr}")
    return result.stdout


def start(out):
    """A run without end, from the checkpoint where there is one."""
    begin = ["--resume"] if os.path.exists(f"{FOLDER}/{out}") else ["--weights", f"{INPUTS}/f32"]
    words = command(out, *begin, "--steps", FOR_EVER)
    return subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def wait_for_step(process):
    for line in process.stdout:
        if line.startswith("step "):
            return
    fail(f"the run ended before its first step: {process.stderr.read()}")


def latest_step(out):
    return int(os.readlink(f"{FOLDER}/{out}/latest").removeprefix("step-"))


def same_folders(a, b):
    compared = filecmp.dircmp(a, b)
    _, mismatch, errors = filecmp.cmpfiles(a, b, compared.common_files, shallow=False)
    if compared.left_only or compared.right_only or mismatch or errors:
        fail(
            f"{a} and {b} differ: only one has {compared.left_only + compared.right_only}, not equal {mismatch + errors}"
        )
    for name in compared.common_dirs:
        same_folders(f"{a}/{name}", f"{b}/{name}")


def resume_and_compare(out):
    """Two more steps, and the same number without any interruption."""
    steps = latest_step(out) + 2
    run(out, "--resume", "--steps", steps, "--quiet")
    run(f"{out}-whole", "--weights", f"{INPUTS}/f32", "--steps", steps, "--quiet")
    same_folders(f"{FOLDER}/{out}/step-{steps:08}", f"{FOLDER}/{out}-whole/step-{steps:08}")
    leftovers = [name for name in os.listdir(f"{FOLDER}/{out}") if name.startswith(".")]
    if leftovers:
        fail(f"{out}: {leftovers} stay behind")


def one_signal_saves(number):
    name = signal.Signals(number).name
    for _ in range(2):
        process = start(name)
        wait_for_step(process)
        time.sleep(rng.uniform(0.0, 0.2))
        process.send_signal(number)
        out, err = process.communicate(timeout=PATIENCE)
        if process.returncode != 0 or err:
            fail(f"{name}: exit code {process.returncode}, expected 0; {err}")
        step = latest_step(name)
        last = out.splitlines()[-1]
        expected = f"by {name} after step {step} of {FOR_EVER}; saved, --resume goes on"
        if not last.startswith("stopped") or not last.endswith(expected):
            fail(f"{name}: the last line is {last!r}, expected 'stopped   {expected}'")
    resume_and_compare(name)


def hangup_is_ignored_under_nohup():
    words = command("nohup", "--weights", f"{INPUTS}/f32", "--steps", FOR_EVER)
    process = subprocess.Popen(["nohup", *words], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    wait_for_step(process)
    process.send_signal(signal.SIGHUP)
    wait_for_step(process)
    process.terminate()
    out, err = process.communicate(timeout=PATIENCE)
    if process.returncode != 0 or "stopped   by SIGTERM" not in out:
        fail(f"nohup: exit code {process.returncode}, expected the run to end by SIGTERM: {out[-200:]} {err}")


def broken_pipe_saves():
    process = start("pipe")
    wait_for_step(process)
    process.stdout.close()
    code, err = process.wait(timeout=PATIENCE), process.stderr.read()
    if code != 3 or "standard output: Broken pipe" not in err:
        fail(f"broken pipe: exit code {code}, expected 3: {err}")
    resume_and_compare("pipe")


def second_signal_ends_at_once():
    for attempt in range(ATTEMPTS):
        process = start("twice")
        wait_for_step(process)
        process.terminate()
        time.sleep(0.002 * (attempt % 5))
        process.terminate()
        process.communicate(timeout=PATIENCE)
        if process.returncode == -signal.SIGTERM:
            return
        if process.returncode != 0:
            fail(f"second signal: exit code {process.returncode}, expected that of SIGTERM")
    fail(f"in {ATTEMPTS} attempts, no second SIGTERM ended the run at once")


def kill_leaves_a_checkpoint():
    saved = 0
    for kill in range(KILLS):
        begin = ["--resume"] if kill > 0 else ["--weights", f"{INPUTS}/f32"]
        words = command("killed", *begin, "--steps", FOR_EVER, "--save-every", 1, "--quiet")
        process = subprocess.Popen(words, stderr=subprocess.PIPE, text=True)
        deadline = time.monotonic() + PATIENCE
        while not os.path.islink(f"{FOLDER}/killed/latest") or latest_step("killed") == saved:
            if process.poll() is not None or time.monotonic() > deadline:
                fail(f"kill {kill}: the run has saved nothing: {process.stderr.read() if process.poll() else ''}")
            time.sleep(0.005)
        time.sleep(rng.uniform(0.0, 0.1))
        process.kill()
        _, err = process.communicate(timeout=PATIENCE)
        if err:
            fail(f"kill {kill}: {err}")
        saved = latest_step("killed")
        if "loss" not in run("killed", "--eval", "--resume", "--val", f"{INPUTS}/val.bin"):
            fail(f"kill {kill}: the checkpoint of step {saved} has no loss")
    resume_and_compare("killed")


one_signal_saves(signal.SIGTERM)
one_signal_saves(signal.SIGINT)
one_signal_saves(signal.SIGHUP)
hangup_is_ignored_under_nohup()
broken_pipe_saves()
second_signal_ends_at_once()
kill_leaves_a_checkpoint()
