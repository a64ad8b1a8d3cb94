"""The command line: ``facersa COMMAND`` or ``python -m facersa COMMAND``."""

from __future__ import annotations

import argparse
import getpass
import json
import os
import sys
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from facersa.errors import FaceRSAError, ImageError, PasswordError, SealedError
from facersa.password import DEFAULT_BITS, Password, pair

if TYPE_CHECKING:
    from facersa.mapper import Mapper
    from facersa.pipeline import FaceRSA, Secrets
    from facersa.rotation import RotationCipher
    from facersa.training import Task, TrainConfig

ABOUT = """\
Encrypt the identity of the face in a photograph with a password, keep a natural
picture of another person, and bring the face back with the password.
This is ambiguity, not computational security: nobody's safety should rest on it."""

SEALING = """\
what the file carries (--chunk), and what is real cryptography:
  honey  the code of the face, hidden by argon2id and a stream cipher in such a
         way that every wrong password gives some other person, never an error
         (the default)
  open   the code in clear, so that several people can add and take off passwords;
         anybody who has the file can bring the face back without one
  none   nothing: what the pixels hold must do
Unless --no-pixels is given, the picture itself holds what a honey chunk holds, as a
faint mark that survives JPEG and a smaller copy: decrypt --from-pixels reads it. An
open file has none. The mark, like the chunk, can be found by anybody who looks.
The chunk itself shows that the picture was anonymised. The picture is ambiguous,
no more: no hardness assumption stands behind it. A wrong password draws another
person, pose and background, which shows beside the rest of a photograph: with
--crop there is no rest. Who has the file can test guesses, slowly: use a long
password."""

OPEN_WARNING = (
    "note: an open file can be undone without a password, by copying a row of its "
    "code over the edited ones; share it only with people who may see the face."
)


TOO_SMALL = (
    "note: the picture is too small to hold the code in its pixels, so keep the file "
    "itself: another program would drop the chunk."
)
OUT_OF_MEMORY = "not enough memory; close other programs or use a smaller photo."
FEW_BITS = 64


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; 0, or non-zero with one line on standard error."""
    options = _parser().parse_args(arguments)
    warnings.simplefilter("ignore")
    try:
        options.run(options)
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


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="facersa",
        description=ABOUT,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = parser.add_subparsers(dest="command", required=True)

    def add(
        name: str, run: Any, text: str, epilog: str = ""
    ) -> argparse.ArgumentParser:
        command = commands.add_parser(
            name,
            help=text,
            description=text,
            epilog=epilog,
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        command.set_defaults(run=run)
        return command

    fetch = add("fetch", _fetch, "bring all pretrained files into the cache, verified")
    fetch.add_argument("--licences", action="store_true", help="list their terms only")

    encrypt = add("encrypt", _encrypt, "encrypt the face in a photograph", SEALING)
    encrypt.add_argument("photo", help="a photograph, or an open file to add to")
    encrypt.add_argument("-o", "--output", required=True, help="PNG to write")
    _add_secrets(encrypt)
    encrypt.add_argument(
        "--bits",
        type=int,
        help=f"code length (default {DEFAULT_BITS}; a mapper's own is 16)",
    )
    encrypt.add_argument("--chunk", choices=["honey", "open", "none"])
    encrypt.add_argument("--face", type=int, help="which face, from the left, from 0")
    encrypt.add_argument(
        "--crop", action="store_true", help="keep the face only, 1024²"
    )
    encrypt.add_argument("--steps", type=int, help="steps of the inversion")
    encrypt.add_argument(
        "--no-pixels",
        action="store_true",
        help="leave the pixels alone: without its chunk the picture is then lost",
    )
    _add_cipher(encrypt)

    decrypt = add("decrypt", _decrypt, "bring a face back", SEALING)
    decrypt.add_argument("picture", help="the PNG that encrypt wrote")
    decrypt.add_argument("-o", "--output", required=True, help="PNG to write")
    decrypt.add_argument(
        "--from-pixels",
        action="store_true",
        help="read the code in the pixels: for a picture without its chunk, also a "
        "JPEG or a smaller copy",
    )
    _add_secrets(decrypt)

    codes = add(
        "pair", _pair, "print a pair of raw codes: e and d, each undoes the other"
    )
    codes.add_argument(
        "--bits", type=int, default=16, help="default 16, as in the paper; 128 is safer"
    )

    compare = add("compare", _compare, "measure how alike two pictures of one size are")
    compare.add_argument("first")
    compare.add_argument("second")
    compare.add_argument("--json", action="store_true", help="print JSON")

    evaluate = add("evaluate", _evaluate, "measure properties (a) to (h), both judges")
    evaluate.add_argument("--n", type=int, default=64, help="people (default 64)")
    evaluate.add_argument("--seed", type=int, default=0)
    evaluate.add_argument("--psi", type=float, default=0.85, help="0.7, 0.85 or 1")
    evaluate.add_argument("--stratum", choices=["W", "row-mixed"], default="W")
    evaluate.add_argument("--bits", type=int, help="code length, as with encrypt")
    evaluate.add_argument(
        "--photo", action="append", default=[], help="use inverted photographs instead"
    )
    evaluate.add_argument(
        "--from-pixels",
        action="store_true",
        help="measure instead what comes back from pixels that were compressed, scaled",
    )
    evaluate.add_argument(
        "--fit",
        type=int,
        default=0,
        metavar="N",
        help="with --from-pixels: for N people also fit a code, minutes each",
    )
    evaluate.add_argument("--json", metavar="FILE", help="also write JSON")
    _add_cipher(evaluate)

    localise = add(
        "localise",
        _localise,
        "measure which rows of the code hold identity: each row, windows of four, "
        "groups",
    )
    localise.add_argument("--people", type=int, default=48, help="default 48")
    localise.add_argument("--psi", type=float, default=0.85, help="0.7, 0.85 or 1")
    localise.add_argument("--seed", type=int, default=0)
    localise.add_argument(
        "--noise", action="store_true", help="random rows, not another person's"
    )
    localise.add_argument("--json", metavar="FILE", help="also write JSON")

    ablate = add(
        "ablate", _ablate, "measure what each choice in the paper's mapper does"
    )
    ablate.add_argument("--steps", type=int, default=1500, help="default 1500")
    ablate.add_argument("--n", type=int, default=16, help="people painted (default 16)")
    ablate.add_argument("--seed", type=int, default=0)
    ablate.add_argument("--json", metavar="FILE", help="also write JSON")

    train = add("train", _train, "train a network of this package")
    train.add_argument(
        "what",
        choices=["head", "mapper", "rotation", "parser", "compact"],
        help="the preview head; a mapper of the paper's form; the statistics that "
        "the rotation cipher uses; the clusters of the parsing loss; the table of bits "
        "for codes in pixels",
    )
    train.add_argument("--mapper", choices=["steered", "faithful"], default="steered")
    train.add_argument("--preset", choices=["smoke", "cpu", "gpu"], default="cpu")
    train.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    train.add_argument(
        "--until", type=int, metavar="STEP", help="end there, short of the preset"
    )
    train.add_argument(
        "--bisenet",
        metavar="FILE",
        help="a BiSeNet checkpoint of yours for a mapper's parsing loss, also when "
        "resuming; without it, clusters of the generator's features",
    )
    where = train.add_mutually_exclusive_group()
    where.add_argument("-o", "--output", help="folder (default runs/head and so on)")
    where.add_argument("--resume", metavar="DIR", help="go on with the run in DIR")

    demo = add("demo", _demo, "the main job, end to end, on a public-domain photograph")
    demo.add_argument("photo", nargs="?", help="a photograph of yours instead")
    demo.add_argument("-o", "--output", required=True, help="folder to write into")
    demo.add_argument("--steps", type=int, help="steps of the inversion")
    return parser


def _add_secrets(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--password",
        action="append",
        default=[],
        metavar="TEXT",
        help="may be repeated: the sum counts. Without it the terminal asks, or "
        "FACERSA_PASSWORD is read; what you type here may stay in your history",
    )
    command.add_argument(
        "--code",
        action="append",
        default=[],
        metavar="BITS",
        help="a raw code of `facersa pair`, added as it is; may be repeated",
    )


def _add_cipher(command: argparse.ArgumentParser) -> None:
    command.add_argument("--cipher", choices=["rotation", "mapper"], default="rotation")
    command.add_argument(
        "--mapper",
        choices=["steered", "faithful"],
        default="steered",
        help="which trained mapper: ours, exact (default), or the paper's",
    )
    command.add_argument(
        "--layers",
        type=_rows,
        metavar="A-B",
        help="rows of the code to edit, from 0 (default 3-8; the paper's are 5-8)",
    )
    command.add_argument("--kappa", type=float, help="push away from the person")


def _rows(text: str) -> tuple[int, ...]:
    first, _, last = text.partition("-")
    try:
        rows = tuple(range(int(first), int(last or first) + 1))
    except ValueError:
        rows = ()
    if not rows:
        raise argparse.ArgumentTypeError(f"expected rows such as 5-8, got {text!r}")
    return rows


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
    from facersa.pipeline import carries_code, project_config

    output = _check_output(options.output, options.photo)
    data = read_file(options.photo)
    sealed = carries_code(data)
    if sealed:
        _refuse_settings(options)
    photo = None if sealed else decode_image(data, name=options.photo)
    secrets = _secrets(options, confirm=True)
    engine = _engine(options)
    bits = secrets.num_bits(options.bits, default=engine.default_bits)
    engine.cipher(bits)
    if photo is None:
        encrypted = engine.encrypt_again(data, secrets)
    else:
        config = project_config(options.steps)
        pixels = not options.no_pixels and options.chunk != "open"
        inversion = engine.invert(
            photo, face=options.face, config=config, in_pixels=pixels
        )
        encrypted = engine.encrypt(
            inversion,
            secrets,
            mode=options.chunk or "honey",
            num_bits=bits,
            crop=options.crop,
            in_pixels=pixels,
        )
    write_atomic(output, encrypted.data)
    if photo is not None and pixels and not encrypted.in_pixels:
        print(TOO_SMALL, file=sys.stderr)
    if sealed or options.chunk == "open":
        print(OPEN_WARNING, file=sys.stderr)
    elif bits < FEW_BITS:
        print(
            f"note: a code of {bits} bits is quickly guessed; use 128 where that "
            "matters (facersa pair --bits 128).",
            file=sys.stderr,
        )


def _refuse_settings(options: argparse.Namespace) -> None:
    """An open file keeps the settings it was made with."""
    names = ("bits", "face", "steps", "layers", "kappa", "crop", "no_pixels")
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
            f"leave out {', '.join(given)}, or encrypt the photograph anew."
        )


def _decrypt(options: argparse.Namespace) -> None:
    from facersa.images import decode_image, read_file, write_atomic
    from facersa.inpixels import find
    from facersa.pipeline import FaceRSA
    from facersa.sealed import unseal

    output = _check_output(options.output, options.picture)
    data = read_file(options.picture)
    # A wrong file is named before a password is asked for.
    find(decode_image(data)) if options.from_pixels else unseal(data)
    secrets = _secrets(options)
    decrypted = FaceRSA().decrypt(data, secrets, from_pixels=options.from_pixels)
    write_atomic(output, decrypted.data)


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

    from facersa.evaluation import evaluate
    from facersa.images import load_image
    from facersa.robustness import from_pixels

    output = _check_output(options.json) if options.json else None
    photos = [load_image(path) for path in options.photo]
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
        _report(result, output)
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
    _report(result, output)


def _report(result: Mapping[str, Any], output: Path | None) -> None:
    from facersa.evaluation import table
    from facersa.images import write_atomic

    print(table(result))
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
    from facersa.images import write_atomic
    from facersa.localisation import localise, table

    output = _check_output(options.json) if options.json else None
    result = localise(
        load_generator(),
        people=options.people,
        psi=options.psi,
        seed=options.seed,
        noise=options.noise,
    )
    print(table(result))
    if output is not None:
        write_atomic(output, (json.dumps(result, indent=1) + "\n").encode())


def _ablate(options: argparse.Namespace) -> None:
    from facersa.ablation import ablate, table
    from facersa.generator import load_generator
    from facersa.images import write_atomic
    from facersa.mapper import load_teacher

    output = _check_output(options.json) if options.json else None
    result = ablate(
        load_generator(),
        load_teacher(),
        steps=options.steps,
        n=options.n,
        seed=options.seed,
    )
    print(table(result))
    if output is not None:
        write_atomic(output, (json.dumps(result, indent=1) + "\n").encode())


def _train(options: argparse.Namespace) -> None:
    import torch
    from safetensors.torch import save

    from facersa.compact import FILE, train_compact
    from facersa.generator import load_generator
    from facersa.images import write_atomic
    from facersa.inpixels import CODE_BITS
    from facersa.parsing import fit_parser
    from facersa.rotation import WStatistics
    from facersa.training import open_run, train

    if options.device == "cuda" and not torch.cuda.is_available():
        raise FaceRSAError("there is no CUDA device here; use --device cpu.")
    folder = open_run(
        options.resume or options.output or f"runs/{options.what}",
        resume=bool(options.resume),
    )
    if options.what in ("head", "mapper"):
        task, config = _task(options, folder)
        results = train(task, config, folder, until=options.until)
        print(json.dumps(results, indent=1))
        return
    generator = load_generator(options.device)
    if options.what == "rotation":
        output = folder / "w_stats.safetensors"
        WStatistics.of_generator(generator).save(output)
    elif options.what == "compact":
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
        load_lpips("alex", device),
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


if __name__ == "__main__":
    sys.exit(main())
