"""The commands ``decrypt`` and ``pair``; passwords, and what ``encrypt`` shares."""

from __future__ import annotations

import getpass
import os
import stat
import sys
from collections.abc import Sequence
from contextlib import suppress
from typing import TYPE_CHECKING

import click

from facersa.cli.parser import build_engine, check_png, command
from facersa.errors import FileError, PasswordError

if TYPE_CHECKING:
    from facersa.cipher.typed import Secrets
    from facersa.sealing.picture import EncryptedPicture

SEALING = """\
What the file carries (--chunk), and what of it is real cryptography:

\b
  ambiguous  the code of the face, hidden by argon2id and a stream cipher:
             every wrong password gives some other person, never an error
  sealed     the same under authenticated encryption: a wrong password and a
             forged or damaged code are refused
  open       the code in clear, so that several people can add and remove
             passwords; anybody who has the file can recover the face without one
  none       nothing: only the pixels carry the code
  honey      what ambiguous was called before

Unless --no-pixels is given, the pixels of the first and the last kind hold the code
as well: a faint watermark that survives JPEG and a smaller copy; decrypt --from-pixels
reads it. Of several faces they hold only the one that was encrypted first.

Whoever has the file can try passwords, and a program can tell when one is right:
encrypted again, it gives the same picture. Each guess costs a few tenths of a second,
so the strength of the password is all there is: use a long one. A wrong
password gives another person, pose and background, which shows beside the rest of a
photograph too. Chunk and watermark show that the picture was anonymised."""
MAX_LINE = 4096  # bytes of a password in a file


def read_secrets(
    texts: tuple[str, ...],
    codes: tuple[str, ...],
    files: tuple[str, ...] = (),
    *,
    confirm: bool = False,
) -> Secrets:
    """Passwords and codes as given, else from the environment or the terminal.

    From here on a crash leaves no image of the memory, which holds them, on the disk.

    Raises:
        PasswordError: nothing there, an empty password or a malformed code.
        FileError: one of ``files`` cannot be read.
    """
    from facersa.cipher.password import Password
    from facersa.cipher.typed import Secrets

    with suppress(ImportError, OSError, ValueError):  # not on every system
        import resource

        _, most = resource.getrlimit(resource.RLIMIT_CORE)
        resource.setrlimit(resource.RLIMIT_CORE, (0, most))
    texts += tuple(map(_first_line, files))
    if not texts and not codes:
        if from_environment := os.environ.get("FACERSA_PASSWORD"):
            texts = (from_environment,)
        elif sys.stdin.isatty():
            texts = (_ask("Password: "),)
            if confirm and _ask("Once more: ") != texts[0]:
                raise PasswordError("the two passwords differ; type them again.")
        else:
            raise PasswordError(
                "no password was given; use --password-file, --password or --code, "
                "set FACERSA_PASSWORD, or run in a terminal."
            )
    return Secrets(texts, tuple(map(Password.from_bits, codes)))


def _ask(prompt: str) -> str:
    try:
        return getpass.getpass(prompt)
    except EOFError as error:
        raise PasswordError("no password was typed; nothing was done.") from error
    except UnicodeDecodeError:  # it holds the password
        raise PasswordError(
            "the terminal writes other bytes than the locale says; set LC_ALL to the "
            "terminal's encoding."
        ) from None


def _first_line(name: str) -> str:
    """The password in a file, without the end of the line; - is standard input."""
    try:
        with click.open_file(name, "rb") as file:
            line = file.readline(MAX_LINE + 2).removesuffix(b"\n").removesuffix(b"\r")
            mode = 0 if name == "-" else os.fstat(file.fileno()).st_mode
    except OSError as error:
        raise FileError(
            f"cannot read {name}: {error.strerror or error}; check the path."
        ) from error
    if len(line) > MAX_LINE:
        raise PasswordError(
            f"the first line of {name} has more than {MAX_LINE} bytes; write the "
            "password there, and an end of line."
        )
    try:
        text = line.decode("utf-8-sig")  # some editors put a mark before the text
    except UnicodeDecodeError:
        text = "\0"
    if not text or "\0" in text:
        raise PasswordError(
            f"the first line of {name} is empty or not UTF-8 text; write the password "
            "there, as UTF-8."
        ) from None
    if stat.S_ISREG(mode) and mode & 0o044:
        click.echo(f"note: others can read {name}; chmod 600 hides it.", err=True)
    return text


def check_faces(chosen: Sequence[int | str]) -> None:
    """Raise ``click.UsageError`` for numbers beside --face all, which has them."""
    if "all" in chosen and set(chosen) != {"all"}:
        raise click.UsageError("--face all names every face; leave out the numbers.")


def joined(numbers: Sequence[int]) -> str:
    """Numbers as text."""
    return ", ".join(map(str, numbers))


def numbers_of(chosen: Sequence[int | str], every: Sequence[int]) -> list[int]:
    """What --face names, in order and each once; empty where it was not given."""
    if "all" in chosen:
        return list(every)
    return sorted({int(number) for number in chosen})


def cipher_of(picture: EncryptedPicture, number: int | None) -> str:
    """The cipher of encrypted face ``number``, counted as by ``pick``."""
    return str(picture.faces[picture.pick(number)].params.get("cipher"))


def learned_in(picture: EncryptedPicture) -> str | None:
    """The first cipher with weights that a face in the picture was encrypted with."""
    learned = [sealed for sealed in picture.faces if "weights" in sealed.params]
    return str(learned[0].params["cipher"]) if learned else None


def say_written(
    path: object, found: str, numbers: Sequence[int], done: str, ciphers: Sequence[str]
) -> None:
    """The file, how many faces are in it, and what was done to which."""
    which, by = joined(numbers), ", ".join(dict.fromkeys(ciphers))
    click.echo(f"wrote {path}: {found}; {done}: {which} ({by} cipher)")


@command("decrypt", "picture", epilog=SEALING)
def decrypt(
    picture: str,
    *,
    output: str,
    password: tuple[str, ...] = (),
    password_file: tuple[str, ...] = (),
    code: tuple[str, ...] = (),
    face: tuple[int | str, ...] = (),
    from_pixels: bool = False,
    weights: str | None = None,
    generator: str | None = None,
    bisenet: str | None = None,
) -> None:
    """Bring a face back with its password.

    PICTURE is a file that encrypt wrote. The password is asked for, unless --password,
    --password-file, --code or the variable FACERSA_PASSWORD gives it; a wrong one gives
    another person and no error. Files of your own that encrypt was given are needed
    here as well. The picture shows the person, so a new file is for your user only.
    """
    from facersa.files import read_file, write_atomic
    from facersa.sealing.picture import EncryptedPicture

    own = [file for file in (weights, generator, bisenet) if file]
    check_faces(face)
    path = check_png(output, picture, *own, *password_file)
    # A wrong file or face is named before a password is asked for.
    current = EncryptedPicture.read_encrypted(
        read_file(picture), name=picture, from_pixels=from_pixels
    )
    count, numbers = len(current.numbers), numbers_of(face, current.numbers)
    if not numbers:
        current.pick(None)
        numbers = [0]
    ciphers = [cipher_of(current, number) for number in numbers]
    secrets = read_secrets(password, code, password_file)
    settings = {"weights": weights, "cipher": learned_in(current) if weights else None}
    engine = build_engine(generator, bisenet=bisenet, **settings)
    # From the right, because those to the left of a face keep their numbers.
    for number in reversed(numbers):
        current = engine.decrypt(current, secrets, face=number).picture
    write_atomic(path, current.data, private=True)
    say_written(path, f"encrypted faces found: {count}", numbers, "decrypted", ciphers)


@command("pair")
def show_pair(bits: int = 16) -> None:
    """Print a random pair of raw codes, e and d; each undoes the other."""
    from facersa.cipher.password import pair

    e, d = pair(bits)
    click.echo(f"e {e.to_bits()}\nd {d.to_bits()}")
