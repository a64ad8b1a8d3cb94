"""The command line: ``facersa COMMAND`` or ``python -m facersa COMMAND``."""

from __future__ import annotations

import io
import os
import signal
import sys
import threading
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import click

from facersa.cli import attack, demo, encrypt, measure, pictures, train
from facersa.cli.parser import cli
from facersa.errors import FaceRSAError

# Each command registers itself with the group when its file is imported.
COMMANDS = (demo, encrypt, pictures, measure, attack, train)
OUT_OF_MEMORY = "not enough memory; close other programs or use a smaller photo."
STOPPED = "stopped; no file was left half-written."
# From kill, or when a terminal is closed.
STOPS = [number for number in signal.Signals if number.name in ("SIGTERM", "SIGHUP")]


class Stopped(BaseException):
    """A signal of ``STOPS`` came, the argument; no ``except Exception`` holds it up."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; 0, or non-zero with one line on standard error.

    The status after a signal is 128 and its number, as shells have it.
    """
    warnings.simplefilter("ignore")
    # Threads that wait for the others sleep. Spinning, they take the cores from those
    # they wait for where other programs run too, and a command takes twice as long.
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # a name may hold any character
            stream.reconfigure(errors="backslashreplace")
    try:
        with _stopped_by_signals():
            status = cli.main(arguments, prog_name="facersa", standalone_mode=False)
    except click.UsageError as error:
        path = error.ctx.command_path if error.ctx else "facersa"
        message = error.format_message().rstrip(". ")
        return _fail(f"{message}; see {path} --help.", 2)
    except click.Abort:  # Control-C, as click passes it on
        return _fail(STOPPED, 128 + signal.SIGINT)
    except Stopped as stop:
        return _fail(STOPPED, 128 + stop.args[0])
    except FaceRSAError as error:
        return _fail(str(error))
    except MemoryError:
        return _fail(OUT_OF_MEMORY)
    except OSError as error:
        return _fail(f"{error.filename or 'system'}: {error.strerror or error}.")
    except RuntimeError as error:
        if "allocate memory" not in str(error):  # PyTorch's form of MemoryError
            raise
        return _fail(OUT_OF_MEMORY)
    return status or 0


@contextmanager
def _stopped_by_signals() -> Iterator[None]:
    """Raise ``Stopped`` at a signal, unless it is ignored, as under nohup."""

    def stop(number: int, _: Any) -> None:
        raise Stopped(number)

    taken = [number for number in STOPS if signal.getsignal(number) == signal.SIG_DFL]
    if threading.current_thread() is not threading.main_thread():
        taken = []  # Python lets only the main thread handle signals
    for number in taken:
        signal.signal(number, stop)
    try:
        yield
    finally:
        for number in taken:
            signal.signal(number, signal.SIG_DFL)


def _fail(message: str, status: int = 1) -> int:
    print(f"facersa: {' '.join(message.split())}", file=sys.stderr)
    return status


if __name__ == "__main__":
    sys.exit(main())
