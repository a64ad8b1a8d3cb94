"""The command that attacks: what a stranger learns without the password."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from click import UsageError

from facersa.cli.measure import report
from facersa.cli.parser import Stratum, build_engine, command, refuse

if TYPE_CHECKING:
    from facersa.cipher.base import Cipher

Name = Literal["guesses", "rows", "codes", "pictures", "learned", "again"]
EPILOG = """
\b
guesses   tell the right password from wrong ones by the code that a guess gives,
          and by painting that code and comparing the pictures
rows      read the code of an encrypted picture with the encoder and copy rows that
          are not edited over the edited ones
codes     with an edited code in clear: undo it with one known pair of codes, and try
          all passwords of 16 bits
pictures  with a gallery: find the person of an encrypted picture, link two pictures,
          average many, learn a metric
learned   with thousands of encrypted pictures: train a detector of them, and a network
          that brings the person back
again     with a code in clear: encrypt it and decrypt it again, and tell from what
          comes back whether it had been encrypted; for every system of --tables
"""
NEEDED = {  # options that some attacks do not have
    "guesses": ("guesses", "codes", "photo", "steps", "psi", "stratum"),
    "rows": ("cipher", "layers", "photo", "steps", "psi", "stratum"),
    "codes": ("cipher", "psi"),
    "pictures": ("cipher", "codes", "psi", "stratum"),
    "learned": ("cipher", "codes", "psi"),
    "again": ("psi",),
}
PEOPLE = {"guesses": 200, "rows": 70, "codes": 4, "pictures": 500}
PEOPLE |= {"learned": 1000, "again": 500}
SEARCHED = ("steady", "rotation", "ring", "steered", "faithful")
SHORT = 16  # bits: all passwords are tried


@command("attack", "name", epilog=EPILOG)
def run_attack(
    name: Name,
    *,
    n: int | None = None,
    photo: tuple[str, ...] = (),
    steps: int = 0,
    seed: int = 0,
    psi: float = 0.85,
    stratum: tuple[Stratum, ...] = (),
    guesses: int = 50,
    codes: str | None = None,
    cipher: str | None = None,
    layers: tuple[tuple[int, ...], ...] = (),
    json: str | None = None,
) -> None:
    """Attack encrypted pictures without the password, and measure how far it gets.

    NAME is the attack, see below.
    """
    import torch

    from facersa.cipher.catalogue import DEFAULT, load_cipher
    from facersa.evaluation.again import encrypted_again
    from facersa.evaluation.crowd import attack_pictures, paint_crowd
    from facersa.evaluation.guesses import told_apart
    from facersa.evaluation.learned import attack_learned
    from facersa.evaluation.open_codes import attack_codes
    from facersa.evaluation.rows import copied_rows
    from facersa.files import check_output
    from facersa.generator.load import load_generator
    from facersa.inversion.search import project_config
    from facersa.judges.panel import Panel
    from facersa.people import STRATA
    from facersa.photo.images import load_image

    if json:
        check_output(json, *photo)
    others = {option for options in NEEDED.values() for option in options}
    refuse(f"attack {name} needs less", *sorted(others - set(NEEDED[name])))
    if name != "rows" and len(stratum) > 1:
        raise UsageError(f"attack {name} takes one stratum; leave out all but one.")
    how: dict[str, Any] = {"n": n or PEOPLE[name], "seed": seed, "psi": psi}
    if name == "codes":
        names = (cipher,) if cipher else SEARCHED
        report(attack_codes(_short_and_long(names), load_generator(), **how), json)
        return
    if name == "again":
        report(encrypted_again(load_generator(), **how), json)
        return
    if name in ("pictures", "learned"):
        folder = (
            check_output(Path(codes) / "crowd.safetensors").parent if codes else None
        )
        measured, painters = load_cipher(cipher or DEFAULT), (load_generator(), Panel())
        if name == "learned":
            report(attack_learned(measured, *painters, folder=folder, **how), json)
            return
        how |= {"stratum": stratum[0] if stratum else "W"}
        crowd = paint_crowd(measured, *painters, folder=folder, **how)
        report(attack_pictures(measured, crowd, settings=how), json)
        return
    if name == "rows" and not photo:
        refuse("codes of generated people are known and not searched", "steps")
    if photo:
        given = "n psi stratum" if name == "rows" else ""
        refuse("--photo replaces generated people", *given.split())
    engines = [
        build_engine(None, cipher=cipher, layers=edited) for edited in layers or (None,)
    ]
    config, engine = project_config(steps), engines[0]
    photos = [engine.invert(load_image(path), config=config) for path in photo]
    if name == "rows":
        if photos:  # the judges' calibration for photographs
            how["psi"] = 1.0
        how["strata"] = stratum or STRATA
        report(copied_rows(engines, inversions=photos or None, **how), json)
        return
    if photos:
        how["photographs"] = torch.cat([found.ws for found in photos])
    if codes:
        how["folder"] = check_output(Path(codes) / "codes.safetensors").parent
    how["stratum"] = stratum[0] if stratum else "W"
    report(told_apart(engine, config, guesses=guesses, **how), json)


def _short_and_long(names: Sequence[str]) -> list[Cipher]:
    """Ciphers for codes of 16 bits, and those that take longer ones as they come."""
    from facersa.cipher.catalogue import load_cipher

    usual = [load_cipher(name) for name in names]
    long = [cipher for cipher in usual if cipher.num_bits > SHORT]
    short = [
        load_cipher(cipher.name, num_bits=SHORT) if cipher in long else cipher
        for cipher in usual
    ]
    return [*short, *long]
