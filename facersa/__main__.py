"""The command line: ``facersa COMMAND`` or ``python -m facersa COMMAND``."""

from __future__ import annotations

import argparse
import sys
import warnings
from collections.abc import Sequence
from pathlib import Path

from facersa.cli.measure import run_ablate, run_evaluate, run_localise, show_compare
from facersa.cli.parser import build_parser
from facersa.cli.pictures import decrypt, encrypt, show_pair
from facersa.cli.train import run_train
from facersa.errors import FaceRSAError, ImageError

OUT_OF_MEMORY = "not enough memory; close other programs or use a smaller photo."


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; 0, or non-zero with one line on standard error."""
    options = build_parser().parse_args(arguments)
    warnings.simplefilter("ignore")
    try:
        COMMANDS[options.command](options)
    except FaceRSAError as error:
        return _fail(str(error))
    except KeyboardInterrupt:
        print("facersa: stopped; no file was left half-written.", file=sys.stderr)
        return 130
    except MemoryError:
        return _fail(OUT_OF_MEMORY)
    except OSError as error:
        return _fail(f"{error.filename or 'system'}: {error.strerror or error}.")
    except RuntimeError as error:
        if "allocate memory" not in str(error):  # PyTorch's form of MemoryError
            raise
        return _fail(OUT_OF_MEMORY)
    return 0


def _fail(message: str) -> int:
    print(f"facersa: {' '.join(message.split())}", file=sys.stderr)
    return 1


def fetch(options: argparse.Namespace) -> None:
    """Download what is missing, and say under which licences."""
    from facersa.assets import registry as assets

    if not options.licences:
        assets.fetch_all()
    print(assets.licences())
    if not options.licences:
        print(f"\nAll files are in {assets.cache_folder()}.")


def demo(options: argparse.Namespace) -> None:
    """Encrypt a face, decrypt it, and keep the pictures."""
    from facersa.cli.demo import demo_photo, run_demo
    from facersa.photo.images import load_image

    photo = load_image(options.photo) if options.photo else demo_photo()
    folder = Path(options.output)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ImageError(
            f"cannot make the folder {folder}: {error.strerror}; choose another."
        ) from error
    run_demo(folder, photo, steps=options.steps)


COMMANDS = {
    "fetch": fetch,
    "encrypt": encrypt,
    "decrypt": decrypt,
    "pair": show_pair,
    "compare": show_compare,
    "evaluate": run_evaluate,
    "localise": run_localise,
    "ablate": run_ablate,
    "train": run_train,
    "demo": demo,
}

if __name__ == "__main__":
    sys.exit(main())
