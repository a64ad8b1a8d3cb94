"""The command line: ``facersa COMMAND`` or ``python -m facersa COMMAND``."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Sequence

import click

from facersa.cli import attack, demo, measure, pictures, train
from facersa.cli.parser import cli
from facersa.errors import FaceRSAError

# Each command registers itself with the group when its file is imported.
COMMANDS = (demo, pictures, measure, attack, train)
OUT_OF_MEMORY = "not enough memory; close other programs or use a smaller photo."


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; 0, or non-zero with one line on standard error."""
    warnings.simplefilter("ignore")
    try:
        status = cli.main(arguments, prog_name="facersa", standalone_mode=False)
    except click.UsageError as error:
        path = error.ctx.command_path if error.ctx else "facersa"
        message = error.format_message().rstrip(". ")
        return _fail(f"{message}; see {path} --help.", 2)
    except click.Abort:  # Control-C, as click passes it on
        return _fail("stopped; no file was left half-written.", 130)
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


def _fail(message: str, status: int = 1) -> int:
    print(f"facersa: {' '.join(message.split())}", file=sys.stderr)
    return status


if __name__ == "__main__":
    sys.exit(main())
