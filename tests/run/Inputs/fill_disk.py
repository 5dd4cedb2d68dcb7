"""What a full disk leaves: the older checkpoints as they were, nothing half-written, one message.

    python3 fill_disk.py limit PROGRAM INPUTS FOLDER    a limit on the size of files (ulimit -f)
    python3 fill_disk.py tmpfs PROGRAM INPUTS FOLDER    a small file system; needs the right to mount
"""

import os
import resource
import subprocess
import sys

HOW, PROGRAM, INPUTS, FOLDER = sys.argv[1:5]
STATUS_SYSTEM = 3
ROOM, DISK_BYTES = 40000, 640 << 10  # the weights alone take 60000 bytes
REASONS = {"limit": "File too large", "tmpfs": "No space left on device"}


def fail(text):
    sys.exit(f"fill_disk {HOW}: {text}")


def limit():
    resource.setrlimit(resource.RLIMIT_FSIZE, (ROOM, ROOM))


def run(*words, is_full=False):
    common = [PROGRAM, "--data", f"{INPUTS}/train.bin", "--quiet", "--out", f"{FOLDER}/run"]
    limits = limit if is_full and HOW == "limit" else None
    return subprocess.run(common + [str(word) for word in words], capture_output=True, text=True, preexec_fn=limits)


def snapshot():
    """{path: bytes} of all files, and where links lead."""
    files = {}
    for folder, _, names in os.walk(f"{FOLDER}/run"):
        for name in names:
            path = os.path.join(folder, name)
            if not os.path.islink(path):
                with open(path, "rb") as file:
                    files[path] = file.read()
    files["latest"] = os.readlink(f"{FOLDER}/run/latest")
    return files


def expect(what, result, code, *parts):
    lines = result.stderr.splitlines()
    if result.returncode != code:
        fail(f"{what}: exit code {result.returncode}, expected {code}; {result.stderr}")
    if len(lines) != len(parts) or not all(part in line for part, line in zip(parts, lines)):
        fail(f"{what}: expected the messages {parts}, found {lines}")


def expect_untouched(before):
    if snapshot() != before:
        fail(f"the folder has changed: {sorted(set(snapshot()) ^ set(before))}")
    names = sorted(os.listdir(f"{FOLDER}/run"))
    if names != ["latest", "step-00000001"]:
        fail(f"found {names}")


def fill():
    """Leaves less than the weights take."""
    if HOW == "tmpfs":
        with open(f"{FOLDER}/ballast", "wb") as file:
            free = os.statvfs(FOLDER).f_bavail * os.statvfs(FOLDER).f_bsize
            file.write(b"\0" * (free - ROOM))


def check():
    reason = REASONS[HOW]
    expect("start", run("--weights", f"{INPUTS}/f32", "--steps", 1), 0)
    before = snapshot()
    fill()

    # The last checkpoint must be written: an error.
    expect("last", run("--resume", "--steps", 2, is_full=True), STATUS_SYSTEM, reason)
    expect_untouched(before)

    # One on the way need not: a warning each time; the error at the end.
    warnings = ["warning: "] * 2
    result = run("--resume", "--steps", 4, "--save-every", 1, is_full=True)
    expect("on the way", result, STATUS_SYSTEM, *warnings, "error: ")
    if result.stderr.count(reason) != 3 or result.stderr.count("training goes on") != 2:
        fail(f"expected the reason three times: {result.stderr}")
    expect_untouched(before)

    # An export appears whole or not at all.
    result = run("--resume", "--steps", 1, "--export", f"{FOLDER}/export", is_full=True)
    expect("export", result, STATUS_SYSTEM, f"error: {FOLDER}/export")
    if any(name.startswith("export") or name.startswith(".export") for name in os.listdir(FOLDER)):
        fail(f"half an export: {os.listdir(FOLDER)}")

    # With room again, the run goes on.
    if HOW == "tmpfs":
        os.remove(f"{FOLDER}/ballast")
    expect("with room", run("--resume", "--steps", 2), 0)
    if os.readlink(f"{FOLDER}/run/latest") != "step-00000002":
        fail("the run does not go on once there is room")


def main():
    os.makedirs(FOLDER)
    if HOW == "limit":
        return check()
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={DISK_BYTES}", "none", FOLDER], check=True)
    try:
        check()
    finally:
        subprocess.run(["umount", FOLDER], check=True)


main()
