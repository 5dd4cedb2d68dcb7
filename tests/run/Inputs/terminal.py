"""Runs a program on a terminal and prints the lines that stay on the screen.

    python3 terminal.py COLUMNS PROGRAM ARGUMENT...

Checks the live line, which is rewritten in place by \\r and cleared to its end by ESC [K: there was one, it never filled
the last column, it is cleared before a line that stays, and the program ends at the start of a line.
"""

import fcntl
import os
import pty
import re
import struct
import sys
import termios

COLUMNS, COMMAND = int(sys.argv[1]), sys.argv[2:]
CLEAR = "\033[K"


def fail(text):
    sys.exit(f"terminal: {text}")


def run():
    """All that the program wrote."""
    process, terminal = pty.fork()
    if process == 0:
        fcntl.ioctl(0, termios.TIOCSWINSZ, struct.pack("HHHH", 24, COLUMNS, 0, 0))
        os.environ["TERM"] = "xterm"
        os.environ.pop("NO_COLOR", None)
        os.execv(COMMAND[0], COMMAND)
    written = b""
    try:
        while block := os.read(terminal, 65536):
            written += block
    except OSError:  # how Linux says that the other side is closed
        pass
    code = os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])
    if code != 0:
        fail(f"exit code {code}: {written!r}")
    return written.decode()


def check_live(live):
    for text in live:
        if not text.endswith(CLEAR):
            fail(f"{text!r} does not clear what stood there")
        if len(text) - len(CLEAR) >= COLUMNS:
            fail(f"{text!r} is as wide as the terminal, {COLUMNS} columns")


def check_kept(kept, n_live):
    if n_live > 0 and not kept.startswith(CLEAR):
        fail(f"the live line stays behind {kept!r}")
    plain = re.sub(r"\033\[[0-9;]*m", "", kept.removeprefix(CLEAR))
    if not plain.isprintable():
        fail(f"control characters in {plain!r}")
    return plain


def main():
    *rows, rest = run().split("\r\n")
    n_live = 0
    if rest not in ("", "\r" + CLEAR):
        fail(f"the program ends behind {rest!r}")
    for row in rows:
        *live, kept = row.split("\r")
        live = [text for text in live if text]
        check_live(live)
        n_live += len(live)
        print(check_kept(kept, len(live)))
    if n_live == 0:
        fail("there was no live line")


main()
