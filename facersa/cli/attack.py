"""The command that attacks: what a stranger learns without the password."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from facersa.cli.measure import report
from facersa.cli.parser import Stratum, build_engine, command, refuse

Name = Literal["guesses", "rows"]
EPILOG = """
\b
guesses   tell the right password from wrong ones by the code that a guess gives,
          and by painting that code and comparing the pictures
rows      read the code of an encrypted picture with the encoder and copy rows that
          are not edited over the edited ones
"""


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

    from facersa.evaluation.guesses import told_apart
    from facersa.evaluation.rows import copied_rows
    from facersa.files import check_output
    from facersa.inversion.search import project_config
    from facersa.people import STRATA
    from facersa.photo.images import load_image

    if json:
        check_output(json)
    if name == "rows":
        refuse("attack rows makes no guesses", "guesses", "codes")
        if photo:
            refuse("--photo replaces generated people", "n", "psi", "stratum")
    else:
        refuse("attack guesses changes no rows", "cipher", "layers")
    engines = [
        build_engine(None, cipher=cipher, layers=edited) for edited in layers or (None,)
    ]
    config, engine = project_config(steps), engines[0]
    photos = [engine.invert(load_image(path), config=config) for path in photo]
    how: dict[str, Any] = {"seed": seed, "psi": psi}
    if name == "rows":
        how |= {"n": n or 70, "strata": stratum or STRATA}
        if photos:  # the judges' calibration for photographs
            how["psi"] = 1.0
        report(copied_rows(engines, inversions=photos or None, **how), json)
        return
    if photos:
        how["photographs"] = torch.cat([found.ws for found in photos])
    if codes:
        how["folder"] = check_output(Path(codes) / "codes.safetensors").parent
    how |= {"n": n or 200, "stratum": stratum[0] if stratum else "W"}
    report(told_apart(engine, config, guesses=guesses, **how), json)
