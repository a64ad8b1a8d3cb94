"""Telling the right password from wrong ones: what a file without a tag still shows.

A wrong password gives a draw from the prior and the right one the code of a person.
Where inversions are not draws from the prior, a program tells the two apart from the
code alone. Fitting a prior to inversions makes that harder. But no prior helps against
the picture: decode a guess, encrypt it again under the guess, paint, and compare.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file, save
from torch import Tensor
from tqdm import tqdm

from facersa.cipher.description import describe
from facersa.cipher.password import Password, new_salt
from facersa.errors import FaceRSAError
from facersa.evaluation.distinguishers import (
    FALSE,
    FOLDS,
    TRAINED,
    Distinguishers,
    placed,
    refits,
)
from facersa.evaluation.results import head, rows
from facersa.files import write_atomic
from facersa.generator.openvino import PREVIEW
from facersa.inversion.search import ProjectConfig
from facersa.people import Stratum, people
from facersa.photo.images import from_uint8, resize, to_uint8
from facersa.pipeline import FaceRSA
from facersa.sealing.compact import CompactCode
from facersa.sealing.prior import NormalPrior
from facersa.sealing.sealed import Prior, conceal

REPAINTED, REPAINTS = 6, 20  # people whose guesses are painted, and so many of them


def inverted(
    engine: FaceRSA,
    codes: Tensor,
    config: ProjectConfig,
    prior: Prior,
    path: Path | None,
    progress: bool,
) -> Tensor:
    """What an inversion makes of the pictures of codes (n, rows, D): other such codes.

    With a ``path`` each is written there, and those that it holds are not made again.
    """
    shape = 0, engine.generator.num_ws, engine.generator.w_dim
    done = load_file(path)["codes"] if path and path.exists() else torch.empty(shape)

    def rounded(ws: Tensor) -> Tensor:
        return prior.quantise(ws.cpu(), engine.statistics).to(ws)

    left = range(len(done), len(codes))
    for index in tqdm(left, desc="invert", disable=not progress):
        found = engine.inverter.find(
            from_uint8(to_uint8(engine.renderer.full(codes[index : index + 1]))),
            config=config,
            rounded=rounded if config.steps else None,
            progress=False,
        )
        done = torch.cat([done, found])
        if path is not None:
            write_atomic(path, save({"codes": done.contiguous()}))
    return done[: len(codes)]


def levels_apart(engine: FaceRSA, picture: Tensor, edited: Tensor) -> Tensor:
    """Grey levels (k,), 0 to 255, from a picture to what codes (k, rows, D) paint."""
    previews = torch.cat(
        [x.clamp(-1, 1) for x in engine.renderer.stream(edited, PREVIEW)]
    )
    return 127.5 * (previews - resize(picture, previews.shape[-1])).abs().mean(
        (1, 2, 3)
    )


def repainted(
    engine: FaceRSA, prior: Prior, codes: Tensor, guesses: int, seed: int
) -> tuple[Tensor, Tensor, Tensor]:
    """Seal codes (n, rows, D), guess, encrypt the guess again, and compare pictures.

    Returns:
        ``levels_apart`` of right guesses (n,) and of wrong passwords (n * guesses,),
        and the codes that these gave (n * guesses, rows, D).
    """
    cipher, stats, levels, wrong = engine.cipher(), engine.statistics, [], []
    for person, ws in enumerate(codes.split(1)):
        first = (guesses + 1) * (person + 1000 * seed)
        tried = [
            Password.random(cipher.num_bits, seed=first + k) for k in range(1 + guesses)
        ]
        sealed = conceal(
            ws,
            tried[0],
            salt=new_salt(),
            params=describe(cipher),
            geometry={},
            prior=prior,
            statistics=stats,
        )
        picture = from_uint8(to_uint8(engine.renderer.full(cipher(ws, tried[0].code))))
        decoded = [sealed.person(guess, statistics=stats) for guess in tried]
        again = torch.cat([cipher(found, used.code) for found, used in decoded])
        levels.append(levels_apart(engine, picture, again))
        wrong += [found for found, _ in decoded[1:]]
    gaps = torch.stack(levels)
    return gaps[:, 0], gaps[:, 1:].flatten(), torch.cat(wrong)


def told_apart(
    engine: FaceRSA,
    config: ProjectConfig,
    *,
    n: int = 200,
    guesses: int = 50,
    seed: int = 0,
    psi: float = 0.85,
    stratum: Stratum = "W",
    photographs: Tensor | None = None,
    folder: Path | None = None,
    progress: bool = True,
) -> dict[str, Any]:
    """Separate right guesses from wrong ones by several distinguishers.

    Args:
        engine: its generator is MobileStyleGAN.
        config: of the inversions, as ``encrypt`` makes them.
        n: generated people, at least 10; distinguishers are cross-validated.
        guesses: wrong ones for each person, more than ``TRAINED``: uniform bits,
            decoded, which is what a stream cipher under a wrong key gives.
        seed: draws people and guesses.
        psi: truncation of the people.
        stratum: of the people.
        photographs: (m, rows, D) codes of photographs, tested by what all generated
            people trained.
        folder: keeps the inversions, so that a stopped run can go on.
        progress: show bars.

    Returns:
        A result, see ``results``. "property" is the prior that ships (compact: pixels
        and default files; 16 bits: files without pixels), or one fitted to every other
        person and tested on the rest. "pair" is the distinguisher; "wrong passwords"
        separates those from uniform bits by the mean square. "auc" is its area, and
        "roc" has the true positive rates at the false positive rates "false".

    Raises:
        FaceRSAError: too few people or guesses.
    """
    if n < 4 * FOLDS or guesses <= TRAINED:
        raise FaceRSAError(
            f"expected {4 * FOLDS} people and {TRAINED + 1} guesses or more, got {n} "
            f"and {guesses}; ask for more."
        )
    table, stats = CompactCode.load(), engine.statistics
    told = Distinguishers(table)
    codes = people(engine.generator, stratum, psi, n, seed)
    random = np.random.default_rng(seed)
    shipped: dict[str, Prior] = {"compact": table}
    shipped["16 bits"] = NormalPrior.of_rows(engine.generator.num_ws)
    for name, prior in shipped.items():
        path = None
        if folder is not None:
            kind = name if config.steps else "both"
            people_of = f"{stratum}_psi{psi}_seed{seed}_steps{config.steps}"
            path = folder / f"{kind}_{people_of}.safetensors"
        found = inverted(engine, codes, config, prior, path, progress)
        sealed = prior.quantise(found, stats)
        size = prior.payload_bytes(*sealed.shape[1:])
        drawn = (
            prior.from_bytes(random.bytes(size), stats)[0] for _ in range(n * guesses)
        )
        right = told.coefficients(sealed, stats)
        wrong = torch.cat([told.coefficients(ws[None], stats) for ws in drawn])
        told.compare(name, right, wrong.unflatten(0, (n, guesses)))
        if photographs is not None:
            tested = told.coefficients(prior.quantise(photographs, stats), stats)
            told.transfer(name, right, wrong.unflatten(0, (n, guesses)), tested)
        tries = min(guesses, REPAINTS)
        near, far, keyed = repainted(engine, prior, sealed[:REPAINTED], tries, seed)
        told.note(name, "repainting", placed(-near, -far))
        really = told.coefficients(keyed, stats)
        places = placed(really.square().mean(1), wrong.square().mean(1))
        told.note(name, "wrong passwords", places)
        for kind, x in {
            "right": right,
            "wrong": wrong,
            "wrong passwords": really,
        }.items():
            squares = x.square().mean(1).tolist()
            told.values[name, kind, "mean_square", None] = squares
        for kind, levels in {"right": near, "wrong passwords": far}.items():
            told.values[name, kind, "grey_levels", None] = levels.tolist()
    _fitted(engine, told, told.coefficients(found, stats), guesses)
    settings: dict[str, Any] = {"n": n, "guesses": guesses, "repainted": REPAINTED}
    settings |= {"psi": psi, "stratum": stratum, "steps": config.steps}
    start = head("guesses", pictures="generated people", settings=settings, seed=seed)
    curves = {"false": [round(f, 6) for f in FALSE], "true": told.curves}
    return start | {"rows": rows(told.values), "roc": curves}


def _fitted(engine: FaceRSA, told: Distinguishers, x: Tensor, guesses: int) -> None:
    """``refits`` of every other one of coefficients (n, F), tested on the rest."""
    tested, cipher = x[1::2], engine.cipher()
    for name, draw in refits(x[::2]).items():
        wrong = draw(len(tested) * guesses).unflatten(0, (len(tested), guesses))
        told.compare(f"fitted: {name}", tested, wrong)
    near, far = [], []
    keys = [Password.random(cipher.num_bits, seed=k).code for k in range(1 + REPAINTS)]
    for one, others in zip(tested[:REPAINTED], wrong, strict=False):
        tried = torch.cat([one[None], others[:REPAINTS]])
        codes = told.codes(tried, engine.statistics)
        edited = cipher(codes, torch.cat(keys[: len(codes)]))
        picture = from_uint8(to_uint8(engine.renderer.full(edited[:1])))
        levels = levels_apart(engine, picture, edited)
        near.append(levels[:1])
        far.append(levels[1:])
    told.note(
        f"fitted: {name}", "repainting", placed(-torch.cat(near), -torch.cat(far))
    )
