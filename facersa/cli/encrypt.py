"""The command ``encrypt``: which faces, with what, and what to say of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Literal

import click

from facersa.cli.parser import build_engine, check_png, command, refuse
from facersa.cli.pictures import (
    SEALING,
    check_faces,
    cipher_of,
    joined,
    learned_in,
    numbers_of,
    read_secrets,
    say_written,
)
from facersa.errors import ImageError, SealedError

if TYPE_CHECKING:
    from torch import Tensor

    from facersa.photo.align import PhotoFace
    from facersa.photo.faces import Box
    from facersa.photo.hide import Hiding
    from facersa.pipeline import FaceRSA
    from facersa.sealing.picture import EncryptedPicture

OPEN_WARNING = (
    "note: an open file can be decrypted without a password, by copying a row of its "
    "code over the edited ones; share it only with people who may see the face."
)
NOT_IN_PIXELS = (
    "note: the pixels do not hold the code, because the picture is too small or has no "
    "greys, or the generator is not MobileStyleGAN; keep the file itself: another "
    "program would drop the chunk."
)
NOWHERE = "note: the file holds no code at all, so nobody can bring the face back."
SHARED_PIXELS = (
    "note: the pixels hold the code of one face at most, the first that was encrypted; "
    "keep the file itself for the others: another program would drop their chunks."
)
FEW_BITS = 64


@command("encrypt", "photo", epilog=SEALING)
def encrypt(
    photo: str,
    *,
    output: str,
    password: tuple[str, ...] = (),
    password_file: tuple[str, ...] = (),
    code: tuple[str, ...] = (),
    face: tuple[int | str, ...] = (),
    others: Literal["blur", "pixelate", "leave"] | None = None,
    chunk: Literal["ambiguous", "sealed", "open", "none", "honey"] = "ambiguous",
    no_pixels: bool = False,
    no_detail: bool = False,
    crop: bool = False,
    paint: Literal["face", "head"] = "face",
    look: Literal["same", "any"] = "same",
    steps: int | None = None,
    keep_inversion: str | None = None,
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
    --password-file, --code or the variable FACERSA_PASSWORD gives it. All chosen faces
    get the same; for another one encrypt the output again.
    """
    from facersa.files import check_output, read_file, write_atomic
    from facersa.inversion.kept import KeptInversions
    from facersa.inversion.search import project_config
    from facersa.pipeline import IN_PIXELS
    from facersa.sealing.picture import EncryptedPicture

    chunk = "ambiguous" if chunk == "honey" else chunk
    if crop:
        refuse("--crop writes one face and all that is painted", "paint", "others")
    check_faces(face)
    own = [file for file in (weights, generator, bisenet) if file]
    own += [photo, *password_file]
    keep = None
    if keep_inversion:
        keep = KeptInversions(check_output(keep_inversion, *own))
        own.append(keep_inversion)
    path = check_png(output, *own)
    picture = EncryptedPicture.read(read_file(photo), name=photo)
    alone = len(picture.faces) == 1 and not face
    if alone:
        _refuse_settings(photo, chunk)
    secrets = read_secrets(password, code, password_file, confirm=True)
    settings = {"weights": weights, "layers": layers, "kappa": kappa}
    if weights and not cipher:  # those of the file, to add a password to it
        cipher = learned_in(picture)
    engine = build_engine(generator, bisenet=bisenet, cipher=cipher, **settings)
    num_bits = secrets.num_bits(bits, default=engine.default_bits)
    engine.cipher(num_bits)
    found = [] if alone else engine.find_faces(picture.photo, picture.squares)
    numbers, new = ([0], False) if alone else _choose(face, found, picture)
    if new:
        in_pixels = not no_pixels and chunk in IN_PIXELS
        if crop and len(numbers) + len(picture.faces) > 1:
            raise ImageError("--crop keeps one face; leave it out to encrypt several.")
        picture.check_room(len(numbers))
        if chunk == "none" and in_pixels:
            picture.check_mark(len(numbers))
        how: dict[str, Any] = {"secrets": secrets, "in_pixels": in_pixels}
        how |= {"mode": chunk, "num_bits": bits, "crop": crop, "paint": paint}
        how |= {"same_look": look == "same", "detail": not no_detail}
        rest = [] if crop else _rest(found, numbers, picture)
        _check_rest(found, rest, others)
        source = picture.photo
        if others in ("blur", "pixelate"):
            picture = _hide(picture, [found[n].box for n in rest], others)
        search: dict[str, Any] = {"config": project_config(steps), "keep": keep}
        picture = _encrypt_faces(engine, source, found, numbers, search, picture, **how)
        ciphers = [engine.cipher().name]
    else:
        _refuse_settings(photo, chunk)
        places = [found[n].quad for n in numbers] if found else []
        inside = [picture.number_of(quad) for quad in places] or [0]
        ciphers = [cipher_of(picture, number) for number in inside]
        for number in inside:
            picture = engine.encrypt_again(picture, secrets, face=number).picture
    write_atomic(path, picture.data)
    done = "encrypted" if new else "encrypted once more"
    say_written(path, f"faces found: {len(found) or 1}", numbers, done, ciphers)
    if new and rest:
        fate = {"blur": "blurred", "pixelate": "pixelated"}.get(others or "")
        click.echo(f"note: {fate or 'left as they were'}: {joined(rest)}", err=True)
    if new and chunk == "none" and no_pixels:
        click.echo(NOWHERE, err=True)
    if any(sealed.mode == "open" for sealed in picture.faces):
        click.echo(OPEN_WARNING, err=True)
    if new and chunk != "open" and num_bits < FEW_BITS:
        click.echo(
            f"note: a code of {num_bits} bits is quickly found, whatever the password, "
            "by inverting the picture and trying all; where that matters use the 128 "
            "bits of the steady cipher, and for raw codes facersa pair --bits 128.",
            err=True,
        )


def _rest(
    found: Sequence[PhotoFace], numbers: Sequence[int], picture: EncryptedPicture
) -> list[int]:
    """Numbers of faces that are neither encrypted already nor going to be."""
    return [
        n
        for n, face in enumerate(found)
        if n not in numbers and picture.number_of(face.quad) is None
    ]


def _check_rest(
    found: Sequence[PhotoFace], rest: Sequence[int], others: str | None
) -> None:
    """Refuse a picture with a face that nobody decided on and that would stay.

    Raises:
        ImageError: it cannot be encrypted, and --others says nothing.
    """
    stuck = [n for n in rest if found[n].obstacle]
    if others is None and stuck:
        from facersa.photo.align import list_faces

        raise ImageError(
            f"face {joined(stuck)} of {len(found)} cannot be encrypted and would stay "
            "as it is; add --others blur or pixelate to hide it for good, or --others "
            f"leave ({list_faces(found)})."
        )


def _hide(
    picture: EncryptedPicture, boxes: Sequence[Box], how: Hiding
) -> EncryptedPicture:
    """The picture with these places hidden for good."""
    from facersa.photo.hide import hide

    photo = picture.photo
    for box in boxes:
        photo = hide(photo, box, how)
    return replace(picture, photo=photo)


def _refuse_settings(photo: str, chunk: str) -> None:
    """An encrypted face keeps the settings it was encrypted with."""
    settings = "bits steps keep_inversion cipher layers kappa crop paint look others"
    refuse(
        f"{photo} is an encrypted picture and keeps its settings; encrypt the "
        "photograph anew to change them, or choose a further face with --face",
        *settings.split(),
        *("no_pixels", "no_detail"),
        *(["chunk"] if chunk != "open" else []),
    )


def _choose(
    face: Sequence[int | str], found: Sequence[PhotoFace], picture: EncryptedPicture
) -> tuple[list[int], bool]:
    """Numbers of the chosen faces, and whether these are not encrypted yet."""
    from facersa.photo.align import choose

    free = [n for n, f in enumerate(found) if picture.number_of(f.quad) is None]
    if face and found and not free and "all" in face:
        raise SealedError("every face in this picture is encrypted already.")
    able = [n for n in free if not found[n].obstacle]
    numbers = numbers_of(face, able or free)
    if not face and len(able) == 1 and len(free) == len(found):
        numbers = able  # the only one that can be
    chosen = [choose(found, n) for n in numbers] or [choose(found, None)]
    numbers = numbers or [0]
    new = not set(free).isdisjoint(numbers)
    if new or all(sealed.mode != "open" for sealed in picture.faces):
        for one in chosen:
            picture.check_new(one.quad)
    return numbers, new


def _encrypt_faces(
    engine: FaceRSA,
    photo: Tensor,
    found: Sequence[PhotoFace],
    numbers: Sequence[int],
    search: dict[str, Any],
    picture: EncryptedPicture,
    **how: Any,
) -> EncryptedPicture:
    """The picture in which these of the faces ``found`` are encrypted too.

    All are inverted from ``photo``, as they were before others were changed.
    """
    several = len(numbers) + len(picture.faces) > 1
    for number in numbers:
        if len(numbers) > 1:
            click.echo(f"face {number}, of {len(numbers)} faces:", err=True)
        inversion = engine.invert(
            photo,
            face=number,
            found=found,
            in_pixels=how["in_pixels"],
            **search,
        )
        encrypted = engine.encrypt(inversion, beside=picture, **how)
        picture = encrypted.picture
    if how["in_pixels"] and not encrypted.in_pixels:
        click.echo(SHARED_PIXELS if several else NOT_IN_PIXELS, err=True)
    return picture
