"""What the command line understands: every command, its options, its help."""

from __future__ import annotations

import argparse

from facersa.cipher.password import DEFAULT_BITS

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
open file has none, and of several faces only the first that was encrypted has one.
The mark, like the chunk, can be found by anybody who looks.
The chunk itself shows that the picture was anonymised. The picture is ambiguous,
no more: no hardness assumption stands behind it. A wrong password draws another
person, pose and background, which shows beside the rest of a photograph: with
--crop there is no rest. Who has the file can test guesses, slowly: use a long
password."""

STEPS = "most steps of the inversion; 0: the encoder's guess"


def build_parser() -> argparse.ArgumentParser:
    """The parser; what it returns names the command as ``command``."""
    parser = argparse.ArgumentParser(
        prog="facersa",
        description=ABOUT,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = parser.add_subparsers(dest="command", required=True)

    def add(name: str, text: str, epilog: str = "") -> argparse.ArgumentParser:
        return commands.add_parser(
            name,
            help=text,
            description=text,
            epilog=epilog,
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )

    fetch = add("fetch", "bring all pretrained files into the cache, verified")
    fetch.add_argument("--licences", action="store_true", help="list their terms only")

    encrypt = add("encrypt", "encrypt the face in a photograph", SEALING)
    encrypt.add_argument(
        "photo",
        help="a photograph; an encrypted one, with --face for a further face; or an "
        "open file to add to",
    )
    encrypt.add_argument("-o", "--output", required=True, help="PNG to write")
    _add_secrets(encrypt)
    encrypt.add_argument(
        "--bits",
        type=int,
        help=f"code length (default {DEFAULT_BITS}; a mapper's own is 16)",
    )
    encrypt.add_argument("--chunk", choices=["honey", "open", "none"])
    _add_faces(
        encrypt,
        "which face of several, from the left, from 0, or all that are not encrypted; "
        "may be repeated: each gets the password. For another password encrypt the "
        "output again with another --face",
    )
    encrypt.add_argument(
        "--crop", action="store_true", help="keep the face only, 1024²"
    )
    encrypt.add_argument(
        "--keep-detail",
        action="store_true",
        help="paint the face only; hair, ears, clothes and background stay the "
        "photograph's own, which is sharper and tells more about the person",
    )
    encrypt.add_argument("--steps", type=int, help=STEPS)
    encrypt.add_argument(
        "--no-pixels",
        action="store_true",
        help="leave the pixels alone: without its chunk the picture is then lost",
    )
    _add_cipher(encrypt)

    decrypt = add("decrypt", "bring a face back", SEALING)
    decrypt.add_argument("picture", help="the PNG that encrypt wrote")
    decrypt.add_argument("-o", "--output", required=True, help="PNG to write")
    decrypt.add_argument(
        "--from-pixels",
        action="store_true",
        help="read the code in the pixels: for a picture without its chunk, also a "
        "JPEG or a smaller copy",
    )
    _add_faces(
        decrypt,
        "which of several encrypted faces, from the left, from 0, or all; may be "
        "repeated. The others stay encrypted",
    )
    _add_secrets(decrypt)

    codes = add("pair", "print a pair of raw codes: e and d, each undoes the other")
    codes.add_argument(
        "--bits", type=int, default=16, help="default 16, as in the paper; 128 is safer"
    )

    compare = add("compare", "measure how alike two pictures of one size are")
    compare.add_argument("first")
    compare.add_argument("second")
    compare.add_argument("--json", action="store_true", help="print JSON")

    evaluate = add("evaluate", "measure properties (a) to (h), both judges")
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
        help="with --from-pixels: for N people also search for a code, minutes each",
    )
    evaluate.add_argument(
        "--inversion",
        action="store_true",
        help="measure instead how close inversions come to the pictures, by the "
        "encoder alone and by searches; minutes a picture",
    )
    evaluate.add_argument("--json", metavar="FILE", help="also write JSON")
    _add_cipher(evaluate)

    localise = add(
        "localise",
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

    ablate = add("ablate", "measure what each choice in the paper's mapper does")
    ablate.add_argument("--steps", type=int, default=1500, help="default 1500")
    ablate.add_argument("--n", type=int, default=16, help="people painted (default 16)")
    ablate.add_argument("--seed", type=int, default=0)
    ablate.add_argument("--json", metavar="FILE", help="also write JSON")

    train = add("train", "train a network of this package")
    train.add_argument(
        "what",
        choices=["head", "encoder", "mapper", "rotation", "parser", "compact"],
        help="the preview head; the encoder of photographs; a mapper of the paper's "
        "form; the statistics that the rotation cipher uses; the clusters of the "
        "parsing loss; the table of bits for codes in pixels",
    )
    train.add_argument(
        "--mapper", choices=["ring", "steered", "faithful"], default="ring"
    )
    train.add_argument("--preset", choices=["smoke", "cpu", "gpu"], default="cpu")
    train.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    train.add_argument(
        "--steps",
        type=int,
        metavar="N",
        help="train for so many instead of the preset's: the schedule fits them",
    )
    train.add_argument(
        "--until", type=int, metavar="STEP", help="end there, short of the schedule"
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

    demo = add("demo", "the main job, end to end, on a public-domain photograph")
    demo.add_argument("photo", nargs="?", help="a photograph of yours instead")
    demo.add_argument("-o", "--output", required=True, help="folder to write into")
    demo.add_argument("--steps", type=int, help=STEPS)
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


def _add_faces(command: argparse.ArgumentParser, text: str) -> None:
    command.add_argument("--face", action="append", type=_face, metavar="N", help=text)


def _face(text: str) -> int | str:
    if text == "all":
        return text
    try:
        return int(text)
    except ValueError:
        raise argparse.ArgumentTypeError(
            f"expected a number or all, got {text!r}"
        ) from None


def _add_cipher(command: argparse.ArgumentParser) -> None:
    command.add_argument("--cipher", choices=["rotation", "mapper"], default="rotation")
    command.add_argument(
        "--mapper",
        choices=["ring", "steered", "faithful"],
        default="ring",
        help="which trained mapper: ring (default) or steered, ours and exact, or "
        "faithful, the paper's",
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
