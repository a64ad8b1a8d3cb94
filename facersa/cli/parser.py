"""The group of commands, how options are read, and what several commands share.

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

from facersa.cli.options import OPTIONS

if TYPE_CHECKING:
    from facersa.pipeline import FaceRSA

F = TypeVar("F", bound=Callable[..., None])
Device = Literal["cpu", "cuda"]
Preset = Literal["smoke", "cpu", "gpu"]
Stratum = Literal["W", "row-mixed"]

MAX_ROWS = 64  # of a code; no generator has more


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
    from facersa.people import PSIS

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
