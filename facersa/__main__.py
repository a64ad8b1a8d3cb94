"""The command line: ``facersa COMMAND`` or ``python -m facersa COMMAND``."""

from __future__ import annotations

import argparse
import getpass
import json
import os
import sys
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from facersa.arguments import build_parser
from facersa.errors import FaceRSAError, ImageError, PasswordError, SealedError
from facersa.password import Password, pair

if TYPE_CHECKING:
    from torch import Tensor

    from facersa.alignment import Found
    from facersa.mapper import Mapper
    from facersa.pipeline import FaceRSA, Secrets
    from facersa.rotation import RotationCipher
    from facersa.sealed import Sealed
    from facersa.training import Task, TrainConfig

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
OUT_OF_MEMORY = "not enough memory; close other programs or use a smaller photo."
FEW_BITS = 64


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


def _secrets(options: argparse.Namespace, *, confirm: bool = False) -> Secrets:
    from facersa.pipeline import Secrets

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


def _check_output(path: str, *sources: str) -> Path:
    """Fail before the long work, not after it."""
    output = Path(path)
    if not output.parent.is_dir():
        raise ImageError(f"the folder {output.parent} does not exist; make it first.")
    if output.is_dir():
        raise ImageError(f"{output} is a folder; name a file in it.")
    if not os.access(output.parent, os.W_OK):
        raise ImageError(f"the folder {output.parent} is not writable; choose another.")
    if any(output.exists() and output.samefile(s) for s in sources if Path(s).exists()):
        raise ImageError(f"{output} is the input itself; choose another name.")
    return output


def _engine(options: argparse.Namespace) -> FaceRSA:
    from facersa.pipeline import FaceRSA

    cipher = options.mapper if options.cipher == "mapper" else options.cipher
    return FaceRSA(cipher=cipher, layers=options.layers, kappa=options.kappa)


def _fetch(options: argparse.Namespace) -> None:
    from facersa import assets

    if not options.licences:
        assets.fetch_all()
    print(assets.licences())
    if not options.licences:
        print(f"\nAll files are in {assets.cache_folder()}.")


def _encrypt(options: argparse.Namespace) -> None:
    from facersa.images import decode_image, read_file, write_atomic
    from facersa.several import number_of, sealed_faces, squares

    output = _check_output(options.output, options.photo)
    data = read_file(options.photo)
    faces = sealed_faces(data)
    alone = len(faces) == 1 and options.face is None
    if alone:
        _refuse_settings(options)
    photo = decode_image(data, name=options.photo)
    secrets = _secrets(options, confirm=True)
    engine = _engine(options)
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
    options: argparse.Namespace, found: Sequence[Found], faces: Sequence[Sealed]
) -> list[int]:
    """Numbers of the chosen faces; what can be wrong with them is said at once."""
    from facersa.alignment import choose
    from facersa.several import check_mark, check_new, number_of

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
    from facersa.pipeline import project_config
    from facersa.several import sealed_faces, squares

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


def _decrypt(options: argparse.Namespace) -> None:
    from facersa.images import decode_image, read_file, write_atomic
    from facersa.inpixels import find
    from facersa.pipeline import FaceRSA
    from facersa.sealed import unseal_all
    from facersa.several import pick

    output = _check_output(options.output, options.picture)
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


def _pair(options: argparse.Namespace) -> None:
    e, d = pair(options.bits)
    print(f"e {e.to_bits()}\nd {d.to_bits()}")


def _compare(options: argparse.Namespace) -> None:
    from facersa.evaluation import Panel, compare
    from facersa.images import load_image

    first, second = load_image(options.first), load_image(options.second)
    figures = compare(first, second, Panel())
    if options.json:
        print(json.dumps(figures))
    else:
        for name, value in figures.items():
            print(f"{name:<12} {'no face' if value is None else f'{value:.4f}'}")


def _evaluate(options: argparse.Namespace) -> None:
    import torch

    from facersa.evaluation import evaluate, table
    from facersa.images import load_image
    from facersa.robustness import from_pixels

    output = _check_output(options.json) if options.json else None
    photos = [load_image(path) for path in options.photo]
    if options.inversion:
        result = _inversions(options, photos)
        _report(result, table(result), output)
        return
    engine = _engine(options)
    cipher = engine.cipher(options.bits)
    inversions = [engine.invert(photo) for photo in photos] or None
    if options.from_pixels:
        result = from_pixels(
            engine,
            name=_describe(cipher),
            n=options.n,
            seed=options.seed,
            psi=1.0 if photos else options.psi,
            inversions=inversions,
            fits=options.fit,
        )
        _report(result, table(result), output)
        return
    codes = torch.cat([i.ws for i in inversions]) if inversions else None
    result = evaluate(
        cipher,
        engine.generator,
        name=_describe(cipher),
        num_bits=cipher.num_bits,
        codes=codes,
        n=options.n,
        seed=options.seed,
        stratum="W" if photos else options.stratum,
        psi=1.0 if photos else options.psi,
        layers=cipher.layers,
    )
    _report(result, table(result), output)


def _inversions(
    options: argparse.Namespace, photos: Sequence[Tensor]
) -> dict[str, Any]:
    from facersa.alignment import align
    from facersa.fidelity import fidelity, people
    from facersa.generator import load_generator
    from facersa.inverter import Inverter
    from facersa.rendering import Renderer

    generator = load_generator()
    if photos:
        faces = [align(photo).image for photo in photos]
        return fidelity(Inverter(generator), faces)
    codes = people(
        generator, options.stratum, options.psi, options.n, seed=options.seed
    )
    pictures = list(Renderer(generator).stream(codes))
    return fidelity(
        Inverter(generator),
        pictures,
        codes=codes,
        psi=options.psi,
        what=f"generated people, {options.stratum}, psi {options.psi}",
    )


def _report(result: Mapping[str, Any], text: str, output: Path | None) -> None:
    from facersa.images import write_atomic

    print(text)
    if output is not None:
        write_atomic(output, (json.dumps(result, indent=1) + "\n").encode())


def _describe(cipher: RotationCipher | Mapper) -> str:
    from facersa.mapper import SteeredMapper, fingerprint
    from facersa.rotation import RotationCipher

    rows = list(cipher.layers)
    if isinstance(cipher, RotationCipher):
        return f"rotation, rows {rows}, kappa {cipher.kappa}"
    kind = "steered" if isinstance(cipher, SteeredMapper) else "faithful"
    return f"{kind} mapper, rows {rows}, weights {fingerprint(cipher)}"


def _localise(options: argparse.Namespace) -> None:
    from facersa.generator import load_generator
    from facersa.localisation import localise, table

    output = _check_output(options.json) if options.json else None
    result = localise(
        load_generator(),
        people=options.people,
        psi=options.psi,
        seed=options.seed,
        noise=options.noise,
    )
    _report(result, table(result), output)


def _ablate(options: argparse.Namespace) -> None:
    from facersa.ablation import ablate, table
    from facersa.generator import load_generator
    from facersa.mapper import load_teacher

    output = _check_output(options.json) if options.json else None
    result = ablate(
        load_generator(),
        load_teacher(),
        steps=options.steps,
        n=options.n,
        seed=options.seed,
    )
    _report(result, table(result), output)


def _train(options: argparse.Namespace) -> None:
    import torch
    from safetensors.torch import save

    from facersa.generator import load_generator
    from facersa.images import write_atomic
    from facersa.parsing import fit_parser
    from facersa.rotation import WStatistics
    from facersa.training import open_run, train

    if options.device == "cuda" and not torch.cuda.is_available():
        raise FaceRSAError("there is no CUDA device here; use --device cpu.")
    if options.steps is not None and (options.resume or options.steps < 1):
        raise FaceRSAError(
            "--steps is for a new run, at least 1; a resumed run keeps its own."
        )
    torch.set_float32_matmul_precision("high")  # TF32 on CUDA; nothing on a CPU
    folder = open_run(
        options.resume or options.output or f"runs/{options.what}",
        resume=bool(options.resume),
    )
    if options.what in ("head", "encoder", "mapper"):
        task, config = _task(options, folder)
        if options.steps is not None:
            config = replace(config, steps=options.steps)
        results = train(task, config, folder, until=options.until)
        print(json.dumps(results, indent=1))
        return
    generator = load_generator(options.device)
    if options.what == "rotation":
        output = folder / "w_stats.safetensors"
        WStatistics.of_generator(generator).save(output)
    elif options.what == "compact":
        from facersa.compact import FILE, train_compact
        from facersa.inpixels import CODE_BITS

        output = folder / FILE
        write_atomic(output, train_compact(CODE_BITS).save())
    else:
        output = folder / "parser.safetensors"
        centres = fit_parser(generator).centres.half().contiguous()
        write_atomic(output, save({"centres": centres}))
    print(f"wrote {output}")


def _task(options: argparse.Namespace, folder: Path) -> tuple[Task, TrainConfig]:
    """What to train: as ``folder`` says when resuming, else by the preset."""
    from facersa.bisenet import load_bisenet
    from facersa.encoder_task import EncoderTask, encoder_preset, encoder_recipe_of
    from facersa.generator import load_generator
    from facersa.head_task import HeadTask
    from facersa.judges import load_identity, load_landmarks, load_lpips
    from facersa.mapper import load_teacher
    from facersa.mapper_task import MapperTask, mapper_preset, recipe_of
    from facersa.parsing import load_parser
    from facersa.training import PRESETS, stored_run

    device = options.device
    stored = stored_run(folder) if options.resume else None
    generator, identity = load_generator(device), load_identity(device)
    if options.what == "head":
        config = stored[0] if stored else PRESETS[options.preset]
        return HeadTask(generator, identity), config
    lpips = load_lpips("alex", device)
    if options.what == "encoder":
        config, learned = encoder_preset(options.preset)
        if stored:
            config, learned = stored[0], encoder_recipe_of(stored[1])
        return EncoderTask(generator, identity, lpips, learned), config
    config, recipe = mapper_preset(options.preset, options.mapper)
    if stored:
        config, recipe = stored[0], recipe_of(stored[1])
    task = MapperTask(
        generator,
        identity,
        load_landmarks(device),
        load_bisenet(options.bisenet, device)
        if options.bisenet
        else load_parser(device),
        lpips,
        recipe,
        teacher=load_teacher(device) if recipe.imitation_steps else None,
    )
    return task, config


def _demo(options: argparse.Namespace) -> None:
    from facersa.demo import demo_photo, run_demo
    from facersa.images import load_image

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
    "fetch": _fetch,
    "encrypt": _encrypt,
    "decrypt": _decrypt,
    "pair": _pair,
    "compare": _compare,
    "evaluate": _evaluate,
    "localise": _localise,
    "ablate": _ablate,
    "train": _train,
    "demo": _demo,
}

if __name__ == "__main__":
    sys.exit(main())
