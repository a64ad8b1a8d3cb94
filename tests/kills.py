"""Kills commands that write, at random times, and looks at what is left.

Run it by hand: ``python tests/kills.py [-n 100] [--fetches 4] [--json FILE]``. Half of
the kills are SIGKILL, half SIGTERM. There are four kinds:

- ``facersa encrypt`` and ``decrypt``, n in all, half of them at any time and half while
  the file is written. That takes milliseconds, so there the calls of the system that
  write are made slow. An output that existed is replaced in half of them.
- ``write_atomic`` alone, n times with and n times without nameless files, at its own
  speed and over and over until the kill.
- ``facersa fetch``, into one empty cache, and at last without a kill.

Each figure is the share of the kills after which it was so: the output is absent, old,
complete, or damaged; anything else is beside it, and that holds a complete picture. A
file that is replaced has a temporary name for an instant, which is slow here too.
"""

from __future__ import annotations

import argparse
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import suppress
from json import dumps
from pathlib import Path

from facersa.errors import FaceRSAError

ROOT = Path(__file__).resolve().parent.parent
COMMAND = """
import os, sys, time
def slowed(call):
    def slow(*given, **named):
        print("writing", flush=True)
        time.sleep(0.1)
        try:
            return call(*given, **named)
        finally:
            time.sleep(0.1)
    return slow
if sys.argv[1] == "while writing":
    for name in ("fsync", "fchmod", "link", "replace"):
        setattr(os, name, slowed(getattr(os, name)))
from facersa.__main__ import main
sys.exit(main(sys.argv[2:]))
"""
WINDOW = 1.0  # seconds that the slowed calls take
WRITER = """
import itertools, os, sys
from facersa.__main__ import _stopped_by_signals, Stopped
from facersa.files import write_atomic
output, way, old = sys.argv[1:]
if way == "named":
    del os.O_TMPFILE
try:
    with _stopped_by_signals():
        for letter in itertools.cycle(b"abcdefghijklmnopqrstuvwxyz"):
            if not old and os.path.exists(output):
                os.unlink(output)
            write_atomic(output, bytes([letter]) * 2**20, private=True)
            print("writing", flush=True)
except Stopped as stop:
    sys.exit(128 + stop.args[0])
"""
STATES = ("absent", "old", "complete", "damaged")
OLD = b"old"
Values = dict[tuple[str, str, str, None], list[float]]


def start(code: str, *arguments: object, **variables: str) -> subprocess.Popen[bytes]:
    """A process of its own session, whose standard output is read here."""
    return subprocess.Popen(
        [sys.executable, "-c", code, *map(str, arguments)],
        env=os.environ | {"PYTHONPATH": str(ROOT)} | variables,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )


def kill(child: subprocess.Popen[bytes], number: int, after: float, cue: bool) -> bool:
    """Kill a process ``after`` so many seconds, from its start or its cue to write.

    Whether it ended as it should: by the signal, or before with success.
    """
    assert child.stdout is not None
    with child:
        if cue and child.stdout.readline() != b"writing\n":
            raise RuntimeError(f"{child.args} wrote nothing")
        time.sleep(after)
        child.send_signal(number)
        child.stdout.read()
        status = child.wait()
    with suppress(ProcessLookupError):
        os.killpg(child.pid, signal.SIGKILL)  # what it had started
    stopped = {-number} if number == signal.SIGKILL else {-number, 128 + number}
    return status in stopped | {0}


def is_picture(data: bytes) -> bool:
    """Whether these are all bytes of a PNG."""
    from facersa.photo.images import decode_image, read_png_chunks

    try:
        read_png_chunks(data)
        decode_image(data)
    except FaceRSAError:
        return False
    return True


def is_written(data: bytes) -> bool:
    """Whether these are all bytes that ``WRITER`` writes at a time."""
    return len(data) == 2**20 and len(set(data)) == 1


def look(output: Path, ended: bool, complete=is_picture) -> dict[str, float]:
    """What is in the folder of an output, as 0 or 1 for each figure."""
    state = "absent"
    if output.exists():
        data = output.read_bytes()
        state = "complete" if complete(data) else "damaged"
        state = "old" if data == OLD else state
    beside = [path for path in output.parent.iterdir() if path != output]
    figures = {name: float(name == state) for name in STATES}
    figures["left over"] = float(bool(beside))
    whole = [path for path in beside if complete(path.read_bytes())]
    return figures | {"left over, complete": float(bool(whole)), "ended": float(ended)}


def add(values: Values, kind: str, case: str, figures: dict[str, float]) -> None:
    """Put the figures of one kill to those of its kind and case."""
    for name, value in figures.items():
        values.setdefault((kind, case, name, None), []).append(value)


def commands(values: Values, count: int, draw: random.Random) -> None:
    """Kill ``facersa encrypt`` and ``decrypt``, ``count`` times in all."""
    from skimage import data

    from facersa.photo.images import from_uint8, save_png

    with tempfile.TemporaryDirectory() as name:
        home = Path(name)
        photo, sealed = home / "photo.png", home / "sealed.png"
        save_png(from_uint8(data.astronaut()), photo)
        calls = {
            "encrypt": ("encrypt", photo, "--steps", 0, "-o"),
            "decrypt": ("decrypt", sealed, "-o"),
        }
        seconds = {}
        for command, call in calls.items():
            begin = time.monotonic()
            whole = sealed if command == "encrypt" else home / "back.png"
            with start(COMMAND, "", *call, whole, FACERSA_PASSWORD="x") as child:
                child.communicate()
            assert child.returncode == 0 and is_picture(whole.read_bytes())
            seconds[command] = time.monotonic() - begin
        for turn in range(count):
            command = list(calls)[turn % 2]
            number = (signal.SIGKILL, signal.SIGTERM)[turn // 2 % 2]
            when = ("at any time", "while writing")[turn // 4 % 2]
            old = bool(turn // 8 % 2)
            with tempfile.TemporaryDirectory() as folder:
                output = Path(folder) / "out.png"
                if old:
                    output.write_bytes(OLD)
                cue = when == "while writing"
                after = draw.uniform(0, WINDOW if cue else seconds[command])
                call = (*calls[command], output)
                child = start(COMMAND, when, *call, FACERSA_PASSWORD="x")
                ended = kill(child, number, after, cue)
                case = f"{number.name}, {when}, {'replaced' if old else 'new'}"
                add(values, command, case, look(output, ended))
            print(turn + 1, command, case, file=sys.stderr)


def writes(values: Values, count: int, draw: random.Random, way: str) -> None:
    """Kill a process that does nothing but write files, ``count`` times."""
    for turn in range(count):
        number = (signal.SIGKILL, signal.SIGTERM)[turn % 2]
        old = bool(turn // 2 % 2)
        with tempfile.TemporaryDirectory() as folder:
            output = Path(folder) / "out.png"
            child = start(WRITER, output, way, "old" if old else "")
            ended = kill(child, number, draw.uniform(0, 0.1), cue=True)
            case = f"{number.name}, {'replaced' if old else 'new'}"
            figures = look(output, ended, complete=is_written)
            add(values, f"write, {way}", case, figures)


def fetches(values: Values, count: int, draw: random.Random) -> None:
    """Kill ``facersa fetch`` into one cache, ``count`` times; then let it fetch all."""
    from facersa.assets.registry import ASSETS

    def strays(cache: Path) -> set[str]:
        return {path.name for path in cache.glob("*")} - set(ASSETS) - {".lock"}

    with tempfile.TemporaryDirectory() as name:
        cache = Path(name) / "cache"
        for turn in range(count):
            number, before = (signal.SIGKILL, signal.SIGTERM)[turn % 2], strays(cache)
            child = start(COMMAND, "", "fetch", FACERSA_CACHE=str(cache))
            ended = kill(child, number, draw.uniform(1, 20), cue=False)
            new = float(bool(strays(cache) - before))
            figures = {"ended": float(ended), "left over": new}
            add(values, "fetch", f"{number.name}, at any time", figures)
        with start(COMMAND, "", "fetch", FACERSA_CACHE=str(cache)) as child:
            child.communicate()
        all_there = child.returncode == 0 and all((cache / n).exists() for n in ASSETS)
        figures = {
            "complete": float(all_there),
            "left over": float(bool(strays(cache))),
        }
        add(values, "fetch", "without a kill, after these", figures)


def main(arguments: Sequence[str] | None = None) -> None:
    """Kill, and print the table of what was left."""
    from facersa.evaluation.results import head, rows, table
    from facersa.files import check_output, write_atomic

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("-n", type=int, default=100)
    parser.add_argument("--fetches", type=int, default=4)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json")
    options = parser.parse_args(arguments)
    if options.json:
        check_output(options.json)
    draw, values = random.Random(options.seed), Values()
    for way in ("nameless", "named"):
        writes(values, options.n, draw, way)
    commands(values, options.n, draw)
    if options.fetches:
        fetches(values, options.fetches, draw)
    settings = {k: v for k, v in vars(options).items() if k != "json"}
    result = head("kills", settings=settings) | {"rows": rows(values)}
    if options.json:
        write_atomic(options.json, (dumps(result, indent=1) + "\n").encode())
    print(table(result))


if __name__ == "__main__":
    main()
