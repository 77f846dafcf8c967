"""A terminal for a program that draws on one: a pseudo-terminal, and what is on its screen.

    python3 terminal.py COLUMNS ROWS PROGRAM ARGUMENT...

Prints one JSON object a line, each time a frame is whole: the program then hides the cursor. After a new size those are left out that
were on their way for the old one. Takes one object a line on standard input: {"keys": "q"}, {"size": [120, 40]} or {"signal": "TERM"}. Ends with the program; the last line then has its `exit`.

Only what such programs write is understood: an escape sequence of another kind is told as `strange`, text beyond the last column as
`overrun`.
"""

import codecs
import fcntl
import json
import os
import pty
import re
import select
import signal
import struct
import sys
import termios

SEQUENCE = re.compile(r"\x1b\[([?]?)([0-9;]*)([A-Za-z])")


class Screen:
    def __init__(self, columns, rows):
        self.resize(columns, rows)
        self.old = False
        self.hidden = self.alternate = self.overrun = self.coloured = False
        self.cleared, self.strange, self.pending = 0, [], ""

    def resize(self, columns, rows):
        self.columns, self.rows = columns, rows
        self.cells = [[" "] * columns for _ in range(rows)]
        self.at = [0, 0]

    def feed(self, text):
        text, self.pending = self.pending + text, ""
        while text:
            if text[0] != "\x1b":
                self.put(text[0])
                text = text[1:]
                continue
            found = SEQUENCE.match(text)
            if found:
                self.do(*found.groups())
                text = text[found.end() :]
            elif re.fullmatch(r"\x1b(\[[?]?[0-9;]*)?", text):
                self.pending, text = text, ""  # the rest comes with the next piece
            else:
                self.strange.append(text[:8])
                text = text[1:]

    def put(self, char):
        if char in "\r\n":
            return  # the terminal's own echo after the end
        row, column = self.at
        if row >= self.rows or column >= self.columns:
            self.overrun = True
            return
        self.cells[row][column] = char
        self.at[1] += 1

    def do(self, private, numbers, what):
        given = [int(number or 0) for number in numbers.split(";")]
        if private and what in "hl":
            if given == [25]:
                self.hidden = what == "l"
                if self.hidden and not self.old:
                    print(json.dumps(self.told()), flush=True)
            elif given == [1049]:
                self.alternate = what == "h"
            else:
                self.strange.append(f"?{numbers}{what}")
        elif what == "H":
            row, column = (given + [1, 1])[:2] if numbers else (1, 1)
            self.at = [row - 1, column - 1]
        elif what == "J" and given == [2]:
            self.cleared += 1
            self.old = self.overrun = False
            self.cells = [[" "] * self.columns for _ in range(self.rows)]
        elif what == "m":
            # 30 to 37 and 90 to 97, 38 with its arguments; 39 and 49 set the terminal's own colours.
            self.coloured |= any(30 <= number <= 38 or 90 <= number <= 97 for number in given)
        else:
            self.strange.append(f"{private}{numbers}{what}")

    def told(self):
        state = {name: getattr(self, name) for name in ("hidden", "alternate", "overrun", "coloured", "cleared", "strange")}
        return {"screen": ["".join(row).rstrip() for row in self.cells], **state}


def sized(terminal, columns, rows):
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))


def main():
    columns, rows, program = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3:]
    terminal, inner = pty.openpty()
    sized(terminal, columns, rows)
    before = termios.tcgetattr(terminal)
    child = os.fork()
    if child == 0:
        os.login_tty(inner) if hasattr(os, "login_tty") else own(inner)
        os.execv(program[0], program)
    screen, decoder, orders = Screen(columns, rows), codecs.getincrementaldecoder("utf-8")("replace"), b""
    listening = [terminal, 0]
    code = None
    while code is None:
        ready = select.select(listening, [], [], 0.05)[0]
        if terminal in ready:
            screen.feed(decoder.decode(os.read(terminal, 65536)))
        if 0 in ready:
            read = os.read(0, 65536)
            if not read:
                os.kill(child, signal.SIGKILL)
                listening = [terminal]
            *lines, orders = (orders + read).split(b"\n")
            for line in lines:
                obey(json.loads(line), terminal, child, screen)
        if terminal not in ready:
            ended, status = os.waitpid(child, os.WNOHANG)
            code = os.waitstatus_to_exitcode(status) if ended else None
    # What it wrote between the last look and its end.
    while select.select([terminal], [], [], 0)[0]:
        screen.feed(decoder.decode(os.read(terminal, 65536)))
    # `inner` is open here, too, so the terminal is still there to be asked.
    restored = termios.tcgetattr(terminal) == before
    print(json.dumps({**screen.told(), "exit": code, "restored": restored}), flush=True)


def own(inner):
    os.setsid()
    fcntl.ioctl(inner, termios.TIOCSCTTY, 0)
    for standard in range(3):
        os.dup2(inner, standard)


def obey(order, terminal, child, screen):
    if "keys" in order:
        os.write(terminal, order["keys"].encode())
    if "signal" in order:
        os.kill(child, getattr(signal, "SIG" + order["signal"]))
    if "size" in order:
        screen.resize(*order["size"])
        screen.old = True  # until the program clears the screen for the new size
        sized(terminal, *order["size"])  # tells the program by SIGWINCH


main()
