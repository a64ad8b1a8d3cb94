"""The commands for one's own pictures: ``encrypt``, ``decrypt``, ``pair``."""

from __future__ import annotations

import argparse
import getpass
import os
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

from facersa.cipher.password import Password, Secrets, pair
from facersa.errors import ImageError, PasswordError, SealedError
from facersa.files import check_output

if TYPE_CHECKING:
    from torch import Tensor

    from facersa.photo.align import PhotoFace
    from facersa.pipeline import FaceRSA
    from facersa.sealing.chunk import Sealed

OPEN_WARNING = (
    "note: an open file can be undone without a password, by copying a row of its "
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


def engine_of(options: argparse.Namespace) -> FaceRSA:
    """The engine with the cipher that the options name."""
    from facersa.pipeline import FaceRSA

    cipher = options.mapper if options.cipher == "mapper" else options.cipher
    return FaceRSA(cipher=cipher, layers=options.layers, kappa=options.kappa)


def _secrets(options: argparse.Namespace, *, confirm: bool = False) -> Secrets:
    texts = list(options.password)
    codes = tuple(Password.from_bits(bits) for bits in options.code)
    if not texts and not codes:
        if from_environment := os.environ.get("FACERSA_PASSWORD"):
            texts = [from_environment]
        elif sys.stdin.isatty():
            texts = [_ask("Password: ")]
            if confirm and _ask("Once more: ") != texts[0]:
                raise PasswordError("the two passwords differ; type them again.")
        else:
            raise PasswordError(
                "no password was given; use --password or --code, set "
                "FACERSA_PASSWORD, or run in a terminal."
            )
    if any(not text for text in texts):
        raise PasswordError("the password is empty; type at least one character.")
    return Secrets(tuple(texts), codes)


def _ask(prompt: str) -> str:
    try:
        return getpass.getpass(prompt)
    except EOFError as error:
        raise PasswordError("no password was typed; nothing was done.") from error


def encrypt(options: argparse.Namespace) -> None:
    """Write a file in which chosen faces are encrypted, once or once more."""
    from facersa.files import read_file, write_atomic
    from facersa.photo.images import decode_image
    from facersa.sealing.picture import number_of, sealed_faces, squares

    output = check_output(options.output, options.photo)
    data = read_file(options.photo)
    faces = sealed_faces(data)
    alone = len(faces) == 1 and options.face is None
    if alone:
        _refuse_settings(options)
    photo = decode_image(data, name=options.photo)
    secrets = _secrets(options, confirm=True)
    engine = engine_of(options)
    bits = secrets.num_bits(options.bits, default=engine.default_bits)
    engine.cipher(bits)
    found = [] if alone else engine.find_faces(photo, squares(faces))
    numbers = [] if alone else _faces_to_encrypt(options, found, faces)
    inside = [0] if alone else [number_of(faces, found[n].quad) for n in numbers]
    if None in inside:
        data = _encrypt_faces(options, engine, secrets, data, photo, numbers)
    else:
        _refuse_settings(options)
        for number in inside:
            data = engine.encrypt_again(data, secrets, face=number).data
    write_atomic(output, data)
    if any(face.mode == "open" for face in sealed_faces(data)):
        print(OPEN_WARNING, file=sys.stderr)
    if None in inside and options.chunk != "open" and bits < FEW_BITS:
        print(
            f"note: a code of {bits} bits is quickly guessed; use 128 where that "
            "matters (facersa pair --bits 128).",
            file=sys.stderr,
        )


def _faces_to_encrypt(
    options: argparse.Namespace, found: Sequence[PhotoFace], faces: Sequence[Sealed]
) -> list[int]:
    """Numbers of the chosen faces; what can be wrong with them is said at once."""
    from facersa.photo.align import choose
    from facersa.sealing.picture import check_mark, check_new, number_of

    free = [n for n, f in enumerate(found) if number_of(faces, f.quad) is None]
    numbers = _numbers(options.face, free)
    if options.face and found and not numbers:
        raise SealedError("every face in this picture is encrypted already.")
    chosen = [choose(found, n) for n in numbers] or [choose(found, None)]
    numbers = numbers or [0]
    new = set(numbers) & set(free)
    for face in chosen:
        if new or all(sealed.mode != "open" for sealed in faces):
            check_new(faces, face.quad)
    if new:
        if options.crop and options.keep_detail:
            raise ImageError(
                "--crop keeps the painted face only, without --keep-detail's "
                "surroundings; leave one of them out."
            )
        if options.crop and len(new) + len(faces) > 1:
            raise ImageError("--crop keeps one face; leave it out to encrypt several.")
        if options.chunk == "none" and not options.no_pixels:
            check_mark(faces, len(new))
    return numbers


def _encrypt_faces(
    options: argparse.Namespace,
    engine: FaceRSA,
    secrets: Secrets,
    data: bytes,
    photo: Tensor,
    numbers: Sequence[int],
) -> bytes:
    """The file in which faces of a photo, or of the encrypted ``data``, are new."""
    from facersa.inversion.search import project_config
    from facersa.sealing.picture import sealed_faces, squares

    faces = sealed_faces(data)
    pixels = not options.no_pixels and options.chunk != "open"
    beside = data if faces else None
    for number in numbers:
        if len(numbers) > 1:
            print(f"face {number}, of {len(numbers)} faces:", file=sys.stderr)
        inversion = engine.invert(
            photo,
            face=number,
            known=squares(faces),
            config=project_config(options.steps),
            in_pixels=pixels,
        )
        encrypted = engine.encrypt(
            inversion,
            secrets,
            mode=options.chunk or "honey",
            num_bits=options.bits,
            crop=options.crop,
            detail=options.keep_detail,
            in_pixels=pixels,
            beside=beside,
        )
        beside = encrypted.data
    if pixels and not encrypted.in_pixels:
        several = len(numbers) + len(faces) > 1
        print(SHARED_PIXELS if several else TOO_SMALL, file=sys.stderr)
    return encrypted.data


def _numbers(chosen: Sequence[int | str] | None, every: Sequence[int]) -> list[int]:
    """What --face says, in order and each once; empty where it was not given."""
    if chosen and "all" in chosen:
        return list(every)
    return sorted({int(number) for number in chosen or ()})


def _refuse_settings(options: argparse.Namespace) -> None:
    """An open file keeps the settings it was made with."""
    names = ("bits", "steps", "layers", "kappa", "crop", "keep_detail", "no_pixels")
    given = [
        f"--{name.replace('_', '-')}"
        for name in names
        if getattr(options, name) not in (None, False)
    ]
    if options.chunk not in (None, "open"):
        given.append(f"--chunk {options.chunk}")
    if given:
        raise SealedError(
            f"{options.photo} is an encrypted file, and it keeps its own settings; "
            f"leave out {', '.join(given)}, or encrypt the photograph anew. For a "
            "further face choose it with --face."
        )


def decrypt(options: argparse.Namespace) -> None:
    """Write a file in which chosen faces are decrypted."""
    from facersa.files import read_file, write_atomic
    from facersa.photo.images import decode_image
    from facersa.pipeline import FaceRSA
    from facersa.sealing.chunk import unseal_all
    from facersa.sealing.picture import pick
    from facersa.sealing.pixels import find

    output = check_output(options.output, options.picture)
    data = read_file(options.picture)
    # A wrong file or face is named before a password is asked for.
    pixels = options.from_pixels
    faces = [find(decode_image(data))] if pixels else unseal_all(data)
    numbers = _numbers(options.face, range(len(faces)))
    if not numbers:
        pick(faces, None)
    for number in numbers:
        pick(faces, number)
    secrets = _secrets(options)
    engine = FaceRSA()
    # From the right, because those to the left of a face keep their numbers.
    for number in reversed(numbers or [0]):
        data = engine.decrypt(data, secrets, face=number, from_pixels=pixels).data
    write_atomic(output, data)


def show_pair(options: argparse.Namespace) -> None:
    """Print a random pair of codes."""
    e, d = pair(options.bits)
    print(f"e {e.to_bits()}\nd {d.to_bits()}")
