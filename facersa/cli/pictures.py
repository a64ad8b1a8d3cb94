"""The commands for one's own pictures: ``encrypt``, ``decrypt``, ``pair``."""

from __future__ import annotations

import getpass
import os
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal

import click

from facersa.cli.parser import build_engine, check_png, command, refuse
from facersa.errors import ImageError, PasswordError, SealedError

if TYPE_CHECKING:
    from torch import Tensor

    from facersa.cipher.password import Secrets
    from facersa.photo.align import Found
    from facersa.pipeline import FaceRSA
    from facersa.sealing.chunk import Sealed

SEALING = """\
What the file carries (--chunk), and what of it is real cryptography:

\b
  honey  the code of the face, hidden by argon2id and a stream cipher so that
         every wrong password gives some other person, never an error
  open   the code in clear, so that several people can add and remove
         passwords; anybody who has the file can recover the face without one
  none   nothing: only the pixels carry the code

Unless --no-pixels is given, the pixels hold what a honey chunk holds as well: a faint
watermark that survives JPEG and a smaller copy; decrypt --from-pixels reads it. Open
files have none, and of several faces only the one that was encrypted first.

Chunk and watermark show whoever looks that the picture was anonymised. The picture
is ambiguous, no more: no hardness assumption stands behind it. A wrong password gives
another person, pose and background, which shows beside the rest of a photograph; with
--crop there is no rest. Whoever has the file can test guesses, slowly: use a long
password."""

OPEN_WARNING = (
    "note: an open file can be decrypted without a password, by copying a row of its "
    "code over the edited ones; share it only with people who may see the face."
)

TOO_SMALL = (
    "note: the picture is too small to hold the code in its pixels, so keep the file "
    "itself: another program would drop the chunk."
)

SHARED_PIXELS = (
    "note: the pixels hold the code of one face at most, the first that was encrypted; "
    "keep the file itself for the others: another program would drop their chunks."
)

FEW_BITS = 64


def read_secrets(
    texts: tuple[str, ...], codes: tuple[str, ...], *, confirm: bool = False
) -> Secrets:
    """Passwords and codes as given, else from the environment or the terminal.

    Raises:
        PasswordError: nothing there, an empty password or a malformed code.
    """
    from facersa.cipher.password import Password, Secrets

    if not texts and not codes:
        if from_environment := os.environ.get("FACERSA_PASSWORD"):
            texts = (from_environment,)
        elif sys.stdin.isatty():
            texts = (_ask("Password: "),)
            if confirm and _ask("Once more: ") != texts[0]:
                raise PasswordError("the two passwords differ; type them again.")
        else:
            raise PasswordError(
                "no password was given; use --password or --code, set "
                "FACERSA_PASSWORD, or run in a terminal."
            )
    if not all(texts):
        raise PasswordError("the password is empty; type at least one character.")
    return Secrets(texts, tuple(map(Password.from_bits, codes)))


def _ask(prompt: str) -> str:
    try:
        return getpass.getpass(prompt)
    except EOFError as error:
        raise PasswordError("no password was typed; nothing was done.") from error


@command("encrypt", "photo", epilog=SEALING)
def encrypt(
    photo: str,
    *,
    output: str,
    password: tuple[str, ...] = (),
    code: tuple[str, ...] = (),
    face: tuple[int | str, ...] = (),
    chunk: Literal["honey", "open", "none"] = "honey",
    no_pixels: bool = False,
    crop: bool = False,
    keep_detail: bool = False,
    steps: int | None = None,
    bits: int | None = None,
    cipher: str | None = None,
    weights: str | None = None,
    layers: tuple[int, ...] | None = None,
    kappa: float | None = None,
    generator: str | None = None,
    bisenet: str | None = None,
) -> None:
    """Encrypt the face in a photograph.

    PHOTO is a photograph; an encrypted picture, with --face for a further face; or an
    open file, to add a password to. The password is asked for, unless --password,
    --code or the variable FACERSA_PASSWORD gives it. All chosen faces get the same; for
    another one encrypt the output again.
    """
    from facersa.files import read_file, write_atomic
    from facersa.photo.images import decode_image
    from facersa.sealing.picture import check_mark, number_of, sealed_faces, squares

    if crop and keep_detail:
        refuse("the painted face alone has no surroundings to keep", "keep_detail")
    path = check_png(output, photo)
    data = read_file(photo)
    faces = sealed_faces(data)
    alone = len(faces) == 1 and not face
    if alone:
        _refuse_settings(photo, chunk)
    picture = decode_image(data, name=photo)
    secrets = read_secrets(password, code, confirm=True)
    settings = {"cipher": cipher, "weights": weights, "layers": layers, "kappa": kappa}
    engine = build_engine(generator, bisenet=bisenet, **settings)
    num_bits = secrets.num_bits(bits, default=engine.default_bits)
    engine.cipher(num_bits)
    found = [] if alone else engine.find_faces(picture, squares(faces))
    numbers, new = ([0], False) if alone else _choose(face, found, faces)
    if new:
        in_pixels = not no_pixels and chunk != "open"
        if crop and len(numbers) + len(faces) > 1:
            raise ImageError("--crop keeps one face; leave it out to encrypt several.")
        if chunk == "none" and in_pixels:
            check_mark(faces, len(numbers))
        how: dict[str, Any] = {"secrets": secrets, "in_pixels": in_pixels}
        how |= {"mode": chunk, "num_bits": bits, "crop": crop, "detail": keep_detail}
        data = _encrypt_faces(engine, data, picture, numbers, steps, **how)
        ciphers = [cipher or "rotation"]
    else:
        _refuse_settings(photo, chunk)
        places = [found[n].quad for n in numbers] if found else []
        inside = [number_of(faces, quad) for quad in places] or numbers
        ciphers = [_cipher_of(faces, number) for number in inside]
        for number in inside:
            data = engine.encrypt_again(data, secrets, face=number).data
    write_atomic(path, data)
    done = "encrypted" if new else "encrypted once more"
    _say_written(path, f"faces found: {len(found) or 1}", numbers, done, ciphers)
    if any(sealed.mode == "open" for sealed in sealed_faces(data)):
        click.echo(OPEN_WARNING, err=True)
    if new and chunk != "open" and num_bits < FEW_BITS:
        click.echo(
            f"note: a code of {num_bits} bits is quickly guessed; use 128 where that "
            "matters (facersa pair --bits 128).",
            err=True,
        )


def _refuse_settings(photo: str, chunk: str) -> None:
    """An encrypted face keeps the settings it was encrypted with."""
    settings = "bits steps cipher weights layers kappa crop keep_detail no_pixels"
    refuse(
        f"{photo} is an encrypted picture and keeps its settings; encrypt the "
        "photograph anew to change them, or choose a further face with --face",
        *settings.split(),
        *(["chunk"] if chunk != "open" else []),
    )


def _choose(
    face: Sequence[int | str], found: Sequence[Found], faces: Sequence[Sealed]
) -> tuple[list[int], bool]:
    """Numbers of the chosen faces, and whether these are not encrypted yet."""
    from facersa.photo.align import choose
    from facersa.sealing.picture import check_new, number_of

    free = [n for n, f in enumerate(found) if number_of(faces, f.quad) is None]
    numbers = _numbers(face, free)
    if face and found and not numbers:
        raise SealedError("every face in this picture is encrypted already.")
    chosen = [choose(found, n) for n in numbers] or [choose(found, None)]
    numbers = numbers or [0]
    new = not set(free).isdisjoint(numbers)
    if new or all(sealed.mode != "open" for sealed in faces):
        for one in chosen:
            check_new(faces, one.quad)
    return numbers, new


def _encrypt_faces(
    engine: FaceRSA,
    data: bytes,
    photo: Tensor,
    numbers: Sequence[int],
    steps: int | None,
    **how: Any,
) -> bytes:
    """The file in which faces of a photo, or of the encrypted ``data``, are new."""
    from facersa.inversion.search import project_config
    from facersa.sealing.picture import sealed_faces, squares

    faces = sealed_faces(data)
    beside = data if faces else None
    for number in numbers:
        if len(numbers) > 1:
            click.echo(f"face {number}, of {len(numbers)} faces:", err=True)
        inversion = engine.invert(
            photo,
            face=number,
            known=squares(faces),
            config=project_config(steps),
            in_pixels=how["in_pixels"],
        )
        encrypted = engine.encrypt(inversion, beside=beside, **how)
        beside = encrypted.data
    if how["in_pixels"] and not encrypted.in_pixels:
        several = len(numbers) + len(faces) > 1
        click.echo(SHARED_PIXELS if several else TOO_SMALL, err=True)
    return encrypted.data


def _numbers(chosen: Sequence[int | str], every: Sequence[int]) -> list[int]:
    """What --face names, in order and each once; empty where it was not given."""
    if "all" in chosen:
        return list(every)
    return sorted({int(number) for number in chosen})


def _cipher_of(faces: Sequence[Sealed], number: int | None) -> str:
    """The cipher of encrypted face ``number``, counted as by ``pick``."""
    from facersa.sealing.picture import pick

    params = faces[pick(faces, number)].params
    return str(params.get("mapper") or params.get("cipher"))


def _say_written(
    path: object, found: str, numbers: Sequence[int], done: str, ciphers: Sequence[str]
) -> None:
    """The file, how many faces are in it, and what was done to which."""
    which, by = ", ".join(map(str, numbers)), ", ".join(dict.fromkeys(ciphers))
    click.echo(f"wrote {path}: {found}; {done}: {which} ({by} cipher)")


@command("decrypt", "picture", epilog=SEALING)
def decrypt(
    picture: str,
    *,
    output: str,
    password: tuple[str, ...] = (),
    code: tuple[str, ...] = (),
    face: tuple[int | str, ...] = (),
    from_pixels: bool = False,
    weights: str | None = None,
    generator: str | None = None,
    bisenet: str | None = None,
) -> None:
    """Bring a face back with its password.

    PICTURE is a file that encrypt wrote. The password is asked for, unless --password,
    --code or the variable FACERSA_PASSWORD gives it; a wrong one gives another person
    and no error. Files of your own that encrypt was given are needed here as well.
    """
    from facersa.files import read_file, write_atomic
    from facersa.photo.images import decode_image
    from facersa.sealing.chunk import unseal_all
    from facersa.sealing.picture import pick
    from facersa.sealing.pixels import find

    path = check_png(output, picture)
    data = read_file(picture)
    # A wrong file or face is named before a password is asked for.
    faces = [find(decode_image(data))] if from_pixels else unseal_all(data)
    numbers = _numbers(face, range(len(faces)))
    if not numbers:
        pick(faces, None)
        numbers = [0]
    ciphers = [_cipher_of(faces, number) for number in numbers]
    secrets = read_secrets(password, code)
    learned = next((name for name in ciphers if name != "rotation"), None)
    settings = {"cipher": learned if weights else None, "weights": weights}
    engine = build_engine(generator, bisenet=bisenet, **settings)
    # From the right, because those to the left of a face keep their numbers.
    for number in reversed(numbers):
        done = engine.decrypt(data, secrets, face=number, from_pixels=from_pixels)
        data = done.data
    write_atomic(path, data)
    found = f"encrypted faces found: {len(faces)}"
    _say_written(path, found, numbers, "decrypted", ciphers)


@command("pair")
def show_pair(bits: int = 16) -> None:
    """Print a random pair of raw codes, e and d; each undoes the other."""
    from facersa.cipher.password import pair

    e, d = pair(bits)
    click.echo(f"e {e.to_bits()}\nd {d.to_bits()}")
