"""The commands for one's own pictures: ``encrypt``, ``decrypt``, ``pair``."""

from __future__ import annotations

import getpass
import os
import stat
import sys
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Literal

import click

from facersa.cli.parser import build_engine, check_png, command, refuse
from facersa.errors import FileError, ImageError, PasswordError, SealedError

if TYPE_CHECKING:
    from torch import Tensor

    from facersa.cipher.password import Secrets
    from facersa.photo.align import PhotoFace
    from facersa.photo.faces import Box
    from facersa.photo.hide import Hiding
    from facersa.pipeline import FaceRSA
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
    from facersa.cipher.password import Password, Secrets

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
        refuse("--crop writes all that is painted", "paint")
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
        cipher = _learned_in(picture)
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
        ciphers = [_cipher_of(picture, number) for number in inside]
        for number in inside:
            picture = engine.encrypt_again(picture, secrets, face=number).picture
    write_atomic(path, picture.data)
    done = "encrypted" if new else "encrypted once more"
    _say_written(path, f"faces found: {len(found) or 1}", numbers, done, ciphers)
    if new and rest:
        fate = {"blur": "blurred", "pixelate": "pixelated"}.get(others or "")
        click.echo(f"note: {fate or 'left as they were'}: {_join(rest)}", err=True)
    if any(sealed.mode == "open" for sealed in picture.faces):
        click.echo(OPEN_WARNING, err=True)
    if new and chunk != "open" and num_bits < FEW_BITS:
        click.echo(
            f"note: a code of {num_bits} bits is quickly found, whatever the password, "
            "by inverting the picture and trying all; where that matters use the "
            "steady cipher, whose codes have 128.",
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
            f"face {_join(stuck)} of {len(found)} cannot be encrypted and would stay "
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


def _join(numbers: Sequence[int]) -> str:
    return ", ".join(map(str, numbers))


def _refuse_settings(photo: str, chunk: str) -> None:
    """An encrypted face keeps the settings it was encrypted with."""
    settings = "bits steps keep_inversion cipher layers kappa crop paint look"
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
    numbers = _numbers(face, able or free)
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
        click.echo(SHARED_PIXELS if several else TOO_SMALL, err=True)
    return picture


def _numbers(chosen: Sequence[int | str], every: Sequence[int]) -> list[int]:
    """What --face names, in order and each once; empty where it was not given."""
    if "all" in chosen:
        return list(every)
    return sorted({int(number) for number in chosen})


def _cipher_of(picture: EncryptedPicture, number: int | None) -> str:
    """The cipher of encrypted face ``number``, counted as by ``pick``."""
    return str(picture.faces[picture.pick(number)].params.get("cipher"))


def _learned_in(picture: EncryptedPicture) -> str | None:
    """The first cipher with weights that a face in the picture was encrypted with."""
    learned = [sealed for sealed in picture.faces if "weights" in sealed.params]
    return str(learned[0].params["cipher"]) if learned else None


def _say_written(
    path: object, found: str, numbers: Sequence[int], done: str, ciphers: Sequence[str]
) -> None:
    """The file, how many faces are in it, and what was done to which."""
    which, by = _join(numbers), ", ".join(dict.fromkeys(ciphers))
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
    path = check_png(output, picture, *own, *password_file)
    # A wrong file or face is named before a password is asked for.
    current = EncryptedPicture.read_encrypted(
        read_file(picture), from_pixels=from_pixels
    )
    count, numbers = len(current.numbers), _numbers(face, current.numbers)
    if not numbers:
        current.pick(None)
        numbers = [0]
    ciphers = [_cipher_of(current, number) for number in numbers]
    secrets = read_secrets(password, code, password_file)
    settings = {"weights": weights, "cipher": _learned_in(current) if weights else None}
    engine = build_engine(generator, bisenet=bisenet, **settings)
    # From the right, because those to the left of a face keep their numbers.
    for number in reversed(numbers):
        current = engine.decrypt(current, secrets, face=number).picture
    write_atomic(path, current.data, private=True)
    _say_written(path, f"encrypted faces found: {count}", numbers, "decrypted", ciphers)


@command("pair")
def show_pair(bits: int = 16) -> None:
    """Print a random pair of raw codes, e and d; each undoes the other."""
    from facersa.cipher.password import pair

    e, d = pair(bits)
    click.echo(f"e {e.to_bits()}\nd {d.to_bits()}")
