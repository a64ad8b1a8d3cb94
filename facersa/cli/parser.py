"""The group of commands, what each option means, and what several commands share.

A command is a typed function; its parameters are the arguments and options. What is
slow to import (torch, and all that imports it) is imported inside functions.
"""

from __future__ import annotations

import os
import sys
import typing
from collections.abc import Callable, Mapping
from contextlib import suppress
from inspect import signature
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeVar, get_args, get_origin

import click
from click.core import ParameterSource

if TYPE_CHECKING:
    from facersa.pipeline import FaceRSA

F = TypeVar("F", bound=Callable[..., None])
Device = Literal["cpu", "cuda"]
Preset = Literal["smoke", "cpu", "gpu"]
Stratum = Literal["W", "row-mixed"]

# What stands for an option's value, and the help. Where an option means something else
# in one command, that command's name comes before its own.
OPTIONS: Mapping[str, tuple[str | None, str]] = {
    "output": ("FILE", "PNG to write"),
    "demo output": ("DIR", "folder to write into"),
    "ablate output": ("DIR", "folder of the trainings; a stopped run goes on there"),
    "train output": ("DIR", "folder of a new run  [default: runs/WHAT]"),
    "password": (
        "TEXT",
        "repeatable: their sum counts. The list of processes and the shell's history "
        "show it; --password-file, FACERSA_PASSWORD and the prompt do not",
    ),
    "password_file": (
        "FILE",
        "its first line, UTF-8, is a password; - is standard input; repeatable",
    ),
    "code": ("BITS", "a raw code of facersa pair, added as it is; repeatable"),
    "face": ("N", "which of several faces, from the left, from 0, or all; repeatable"),
    "others": (
        None,
        "what becomes of faces that are not encrypted; without it, a picture with one "
        "that cannot be is refused",
    ),
    "chunk": (None, "what the file carries, see below"),
    "no_pixels": (None, "no watermark: a picture without its chunk is then lost"),
    "no_detail": (
        None,
        "leave out the photograph's own face, which the file else holds under the "
        "password: decryption then shows the face that the generator paints",
    ),
    "crop": (None, "write the face only, 1024 x 1024 pixels"),
    "paint": (
        None,
        "what changes: an oval in the face, or the whole head, which hides hair and "
        "ears too but shows more where it was pasted",
    ),
    "look": (
        None,
        "prefer people of the same apparent gender and like age, or leave it to chance",
    ),
    "steps": ("N", "most steps of the inversion; 0: encoder's guess  [default: 60]"),
    "keep_inversion": (
        "FILE",
        "take inversions from FILE where it has them, and add new ones: another "
        "password or cipher then takes seconds. It shows the person",
    ),
    "ablate steps": ("N", "training steps of each variant"),
    "seeds": ("N", "trainings of each variant, from other weights and people"),
    "train steps": ("N", "length of a new run and its schedule  [default: preset's]"),
    "bits": (
        "N",
        "length of the code  [default: 128; a trained cipher has its own, 16]",
    ),
    "pair bits": ("N", "length of the codes; 16 as in the paper, 128 is safer"),
    "cipher": (
        "NAME",
        "steady, rotation, ring, steered, faithful or assembled  [default: steady]",
    ),
    "train cipher": (
        "NAME",
        "ring, steered, faithful, the paper's, or assembled  [default: ring]",
    ),
    "attack cipher": (
        "NAME",
        "steady, rotation, ring, steered, faithful or assembled  [default: steady; "
        "codes: all but assembled]",
    ),
    "weights": ("FILE", "weights of your own for a trained cipher, by facersa train"),
    "train weights": ("FILE", "a faithful mapper whose outputs the judge sees as well"),
    "layers": (
        "A-B",
        "rows of the code that an exact cipher edits, from 0  [default: steady 3-10, "
        "rotation 3-8; the paper's are 5-8]",
    ),
    "kappa": (
        "X",
        "how far an exact cipher pushes away from the person: gentle, usual or strong, "
        "0.15, 0.3 and 0.45, or a number from 0 to 2  [default: steady 0.3, rotation "
        "0.15]",
    ),
    "generator": ("FILE", "a StyleGAN2 or e4e checkpoint  [default: MobileStyleGAN]"),
    "bisenet": ("FILE", "a BiSeNet checkpoint of your own that parses faces"),
    "arcface": ("FILE", "an ArcFace ONNX network of your own, as one more judge"),
    "from_pixels": (None, "read the watermark: for a JPEG, a smaller copy, no chunk"),
    "judges": (
        None,
        "measure what each of all judges says of each of all ciphers instead",
    ),
    "evaluate output": (
        "DIR",
        "folder of what judges said, for --judges; a stopped run goes on there",
    ),
    "gallery": ("N", "generated strangers among whom --judges looks for a person"),
    "evaluate from_pixels": (None, "measure decryption from changed pixels instead"),
    "inversion": (None, "measure inversions instead; minutes a picture"),
    "whole": (
        None,
        "encrypt and decrypt whole photographs, as the commands do, and measure that; "
        "minutes a face",
    ),
    "photo": ("FILE", "a photograph, in place of generated people; repeatable"),
    "n": ("N", "number of generated people"),
    "attack n": (
        "N",
        "number of generated people  [default: guesses 200, rows 70, codes 4, "
        "pictures and again 500, learned 1000]",
    ),
    "attack steps": (
        "N",
        "most steps of each inversion; 0: the encoder's guess; 60 take a minute",
    ),
    "attack photo": (
        "FILE",
        "a photograph: one more right guess; rows: in place of people; repeatable",
    ),
    "attack layers": (
        "A-B",
        "rows that are edited; repeatable, for a table  [default: the cipher's]",
    ),
    "attack stratum": (
        None,
        "generated people: one w in all rows, or rows of two people; repeatable  "
        "[default: rows both, others W]",
    ),
    "guesses": ("N", "wrong passwords for each person"),
    "codes": (
        "DIR",
        "folder that keeps what takes long, inversions or the judges' numbers: a "
        "stopped run goes on from there",
    ),
    "people": ("N", "number of generated people"),
    "psi": ("X", "truncation of generated people: 0.7, 0.85 or 1"),
    "stratum": (None, "generated people: one w in all rows, or rows of two people"),
    "fit": ("N", "people for whom --from-pixels also searches a code; minutes each"),
    "noise": (None, "put in random rows, not another person's"),
    "seed": ("N", "of all random draws"),
    "train seed": ("N", "of all random draws of a new run  [default: 0]"),
    "json": ("FILE", "also write the result as JSON"),
    "compare json": (None, "print JSON, without a verdict"),
    "preset": (None, "size of a new run; smoke is a test of a few steps"),
    "tables": (
        None,
        "measure the paper's Tables 1 to 3 for this and all other systems instead; "
        "more than half an hour. With --json, a stopped run goes on",
    ),
    "hifd": (
        "DIR",
        "with --tables, also write what each judge said of each picture, for the "
        "package hifd",
    ),
    "evaluate preset": (None, "how much --tables measures; smoke takes two minutes"),
    "device": (None, "where to train"),
    "judge": ("FILE", "a judge of codes of your own, for the faithful mapper"),
    "rounds": (
        "N",
        "make N judges of codes and faithful mappers by turns, from nothing; the same "
        "command goes on with it",
    ),
    "until": ("STEP", "stop there, short of the schedule"),
    "resume": ("DIR", "go on with the run in DIR"),
    "licences": (None, "list their terms only"),
}


MAX_ROWS = 64  # of a code; no generator has more
PSIS = (0.7, 0.85, 1.0)  # for which the judges are calibrated


def cipher_names() -> tuple[str, ...]:
    """The ciphers of the catalogue as it is when a command runs."""
    from facersa.cipher.catalogue import CATALOGUE

    return tuple(CATALOGUE)


def _complete(_: Any, __: Any, start: str) -> list[str]:
    return [name for name in cipher_names() if name.startswith(start)]


def _cipher(text: str) -> str:
    if text not in cipher_names():
        expected = ", ".join(cipher_names())
        raise click.BadParameter(f"expected one of {expected}, got {text!r}.")
    return text


def _face(text: str) -> int | str:
    if text != "all" and not text.isdecimal():
        raise click.BadParameter(f"expected a number or all, got {text!r}.")
    return text if text == "all" else int(text)


def _layers(text: str) -> tuple[int, ...]:
    first, _, last = text.partition("-")
    last = last or first
    numbers = first.isdecimal() and last.isdecimal()
    if not (numbers and int(first) <= int(last) < MAX_ROWS):
        raise click.BadParameter(f"expected rows such as 5-8, got {text!r}.")
    return tuple(range(int(first), int(last) + 1))


def _psi(text: str) -> float:
    with suppress(ValueError):
        if float(text) in PSIS:
            return float(text)
    raise click.BadParameter(f"expected 0.7, 0.85 or 1, got {text!r}.")


def _at_least(least: int) -> Callable[[str], int]:
    def check(text: str) -> int:
        try:
            number = int(text)
        except ValueError:
            number = least - 1
        if number < least:
            raise click.BadParameter(
                f"expected a whole number from {least} on, got {text!r}."
            )
        return number

    return check


def _kappa(text: str) -> float:
    from facersa.cipher.steady import PUSHES

    try:
        return PUSHES.get(text) or float(text)
    except ValueError as error:
        raise click.BadParameter(
            f"expected {', '.join(PUSHES)} or a number, got {text!r}."
        ) from error


# What turns text into a value, or refuses it before anything is loaded. Names are as
# in ``OPTIONS``.
CHECKS: Mapping[str, Callable[[str], Any]] = {
    "cipher": _cipher,
    "face": _face,
    "kappa": _kappa,
    "layers": _layers,
    "psi": _psi,
    **dict.fromkeys(["steps", "seed", "fit"], _at_least(0)),
    **dict.fromkeys(["train steps", "ablate steps", "until", "rounds"], _at_least(1)),
    **dict.fromkeys(["n", "people", "seeds", "guesses"], _at_least(1)),
}


@click.group(
    no_args_is_help=False, context_settings={"help_option_names": ["-h", "--help"]}
)
@click.version_option(package_name="facersa", message="%(prog)s %(version)s")
def cli() -> None:
    """Encrypt the identity of the face in a photograph with a password.

    The result is a natural picture of another person; the password brings the face
    back. This is ambiguity, not computational security: do not rely on it for
    anybody's safety.
    """


def command(name: str, *arguments: str, epilog: str | None = None) -> Callable[[F], F]:
    """Make a typed function a command; its docstring is the help.

    The parameters in ``arguments`` are positional, all others options, which
    ``OPTIONS`` describes. One without a default is required.
    """

    def register(function: F) -> F:
        def run(**given: Any) -> None:
            try:
                function(**given)
                sys.stdout.flush()
            except BrokenPipeError:  # the reader, such as head, needs no more
                os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())

        hints = typing.get_type_hints(function)
        for key, parameter in reversed([*signature(function).parameters.items()]):
            hint, default = hints[key], parameter.default
            kind: Any = (get_args(hint) or (hint,))[0]
            kind = CHECKS.get(f"{name} {key}") or CHECKS.get(key) or kind
            for choices in (hint, kind):
                if get_origin(choices) is Literal:
                    kind = click.Choice(get_args(choices))
            required = default is parameter.empty
            how: dict[str, Any] = {"type": kind, "required": required}
            if key in arguments:
                shown = key.upper() if required else f"[{key.upper()}]"
                run = click.argument(key, metavar=shown, **how)(run)
                continue
            metavar, text = OPTIONS.get(f"{name} {key}") or OPTIONS[key]
            how |= {"metavar": metavar, "help": text, "is_flag": hint is bool}
            how["multiple"] = get_origin(hint) is tuple
            if not required:
                how["default"] = default
                how["show_default"] = str(default) not in ("None", "False", "()")
            if key == "cipher":
                how["shell_complete"] = _complete
            short = ["-o"] if key == "output" else []
            run = click.option(key, *short, f"--{key.replace('_', '-')}", **how)(run)
        cli.command(name, help=function.__doc__, epilog=epilog)(run)
        return function

    return register


def refuse(reason: str, *names: str) -> None:
    """Raise ``click.UsageError`` if one of these options, now useless, was given."""
    context = click.get_current_context()
    given = [
        f"--{name.replace('_', '-')}"
        for name in names
        if context.get_parameter_source(name) is ParameterSource.COMMANDLINE
    ]
    if given:
        raise click.UsageError(f"{reason}; leave out {', '.join(given)}.")


def check_png(name: str, *sources: str) -> Path:
    """``check_output``, and the name must not promise anything but a PNG."""
    from facersa.files import check_output

    path = Path(name)
    if path.suffix.lower() not in (".png", ""):
        raise click.UsageError(
            f"{name} will be a PNG, so name it {path.with_suffix('.png')}."
        )
    return check_output(name, *sources)


def build_engine(
    generator: str | None, *, bisenet: str | None = None, **settings: Any
) -> FaceRSA:
    """The engine on files of the user's; ``settings`` that are None are left out."""
    from facersa.inversion.inverter import load_backend
    from facersa.judges.bisenet import load_bisenet
    from facersa.pipeline import FaceRSA

    networks: dict[str, Any] = {"bisenet": load_bisenet(bisenet)} if bisenet else {}
    painter, networks["encoder"] = load_backend(generator)
    given = {name: value for name, value in settings.items() if value is not None}
    return FaceRSA(painter, **networks, **given)
