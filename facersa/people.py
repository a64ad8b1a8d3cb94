"""Everybody who is ever drawn, and from which seeds.

A seed draws one person, and each range of seeds has one purpose. Nobody who is
evaluated was trained on: no function leaves the ranges it names, but raises
``FaceRSAError``. (The statistics of w are a fact about the generator: 2^18 draws of
one stream.)
"""

from __future__ import annotations

from typing import Literal, get_args

import torch
from torch import Tensor

from facersa.cipher.password import Password
from facersa.cipher.rotation import RotationCipher
from facersa.errors import FaceRSAError
from facersa.generator.base import Generator
from facersa.generator.statistics import WStatistics

MEASURED = range(0, 10_000)  # figures at the end of a training; pictures of the book
EVALUATED = range(10_000, 900_000)  # ``evaluate``, ``attack``, ``localise``, ``ablate``
FITTED = range(900_000, 1_000_000)  # the table of the compact code
TRAINED = range(1_000_000, 7_000_000)  # pools of training; first of all, the parser's
CALIBRATED = range(7_000_000, 8_000_000)  # strangers who set the scales of the judges
RANGES = (MEASURED, EVALUATED, FITTED, TRAINED, CALIBRATED)
Stratum = Literal["W", "row-mixed"]
STRATA: tuple[Stratum, ...] = get_args(Stratum)
PSIS = (0.7, 0.85, 1.0)  # truncations for which the judges are calibrated
ENCRYPTED_EVERY = 4  # one in so many of ``training_codes`` is encrypted


def _seeds(first: int, count: int, *ranges: range) -> range:
    """``count`` seeds from ``first`` on, all of them in one of ``ranges``."""
    seeds = range(first, first + count)
    if count < 1 or not any(seeds[0] in r and seeds[-1] in r for r in ranges):
        allowed = " or ".join(f"{r.start} to {r.stop - 1}" for r in ranges)
        raise FaceRSAError(
            f"cannot draw {count} people from seed {first}, seeds here lie in "
            f"{allowed}; ask for 1 person at least, a seed from 0, and fewer in all."
        )
    return seeds


def evaluated_seeds(seed: int, count: int) -> range:
    """2 ``count`` seeds of ``EVALUATED`` for run number ``seed``, of its own."""
    return _seeds(EVALUATED.start + 2 * count * seed, 2 * count, EVALUATED)


def training_seeds(seed: int, pool: int) -> range:
    """The ``pool`` seeds of ``TRAINED`` for a training with ``seed``, of its own."""
    return _seeds(TRAINED.start + seed * pool, pool, TRAINED)


def sample_stratum(
    generator: Generator,
    stratum: Stratum,
    psi: float,
    count: int,
    *,
    first_seed: int = CALIBRATED.start,
) -> Tensor:
    """W+ codes (count, num_ws, 512) of people who share no row with one another.

    "W": one w in every row. "row-mixed": rows 0 to k - 1 of one person and the others
    of another, k uniform in 1 ... num_ws - 1, both persons used this once. Seeds
    count from ``first_seed``, one a person, anywhere but where training draws.

    Raises:
        ValueError: another stratum.
    """
    if stratum not in STRATA:
        raise ValueError(f"stratum must be one of {STRATA}, got {stratum!r}.")
    persons = count if stratum == "W" else 2 * count
    seeds = _seeds(first_seed, persons, MEASURED, EVALUATED, FITTED, CALIBRATED)
    coarse = generator.sample(seeds[:count], psi)
    if stratum == "W":
        return coarse
    fine = generator.sample(seeds[count:], psi)
    random = torch.Generator().manual_seed(first_seed)
    cut = torch.randint(1, generator.num_ws, (count, 1, 1), generator=random)
    rows = torch.arange(generator.num_ws)[None, :, None]
    return torch.where((rows < cut).to(coarse.device), coarse, fine)


def varied_codes(generator: Generator, count: int, seed: int) -> Tensor:
    """Codes (count, num_ws, 512) of all the kinds the package meets, one a seed.

    Half are one person in every row; a quarter mix two people at a random row;
    a quarter carry a small offset of their own in every row, as codes of
    photographs do. Truncation is uniform in [0.5, 1].
    """
    codes = []
    for one in _seeds(seed, count, MEASURED, TRAINED):
        rng = torch.Generator().manual_seed(one)
        z = torch.randn(2 + generator.num_ws, generator.w_dim, generator=rng)
        kind, psi, cut = torch.rand(3, generator=rng).tolist()
        with torch.no_grad():
            w = generator.map(z.to(generator.w_avg.device))
        ws = generator.truncate(generator.broadcast(w[:1]), 0.5 + 0.5 * psi)
        if kind > 0.75:
            other = generator.truncate(generator.broadcast(w[1:2]), 0.5 + 0.5 * psi)
            row = 1 + int(cut * (generator.num_ws - 1))
            ws = torch.cat([ws[:, :row], other[:, row:]], dim=1)
        elif kind > 0.5:
            offsets = w[None, 2:] - generator.w_avg
            ws = ws + 0.3 * cut * offsets
        codes.append(ws)
    return torch.cat(codes)


def training_people(generator: Generator, count: int, seed: int) -> Tensor:
    """The codes of ``varied_codes`` for a training with ``seed``, of its own."""
    return varied_codes(generator, count, training_seeds(seed, count).start)


@torch.no_grad()
def training_codes(generator: Generator, count: int, seed: int) -> Tensor:
    """The codes of ``varied_codes``, every fourth encrypted under a random password."""
    ws = varied_codes(generator, count, seed)
    cipher = RotationCipher(WStatistics.of(generator)).to(ws.device)
    chosen = torch.arange(ENCRYPTED_EVERY - 1, count, ENCRYPTED_EVERY)
    if len(chosen):
        passwords = [
            Password.random(cipher.num_bits, seed=seed + int(k)).code for k in chosen
        ]
        ws[chosen] = cipher(ws[chosen], torch.cat(passwords).to(ws.device))
    return ws


def people(
    generator: Generator,
    kind: Stratum | Literal["encrypted"],
    psi: float,
    count: int,
    seed: int = 0,
) -> Tensor:
    """Codes (count, num_ws, 512) to evaluate: of a stratum, or encrypted ones of W."""
    first = evaluated_seeds(seed, count).start
    if kind != "encrypted":
        return sample_stratum(generator, kind, psi, count, first_seed=first)
    ws = sample_stratum(generator, "W", psi, count, first_seed=first)
    cipher = RotationCipher(WStatistics.of(generator)).to(ws.device)
    codes = [Password.random(cipher.num_bits, seed=seed + k).code for k in range(count)]
    return cipher(ws, torch.cat(codes).to(ws.device))


def draw_people(
    generator: Generator, count: int, psi: float, seed: int = 0
) -> tuple[Tensor, Tensor]:
    """People to evaluate and a donor for each: two of (count, num_ws, 512) in W.

    Every seed draws other people, and nobody is both person and donor.
    """
    codes = generator.sample(evaluated_seeds(seed, count), psi)
    return codes[:count], codes[count:]


def draw_noise(
    generator: Generator,
    count: int,
    psi: float,
    seed: int = 0,
    *,
    statistics: WStatistics | None = None,
) -> Tensor:
    """Donors that are nobody: every row a draw of its own, (count, num_ws, 512).

    Normal with the mean and the covariance of w, truncated by ``psi``; ``statistics``
    are those that ship unless given.
    """
    first = _seeds(EVALUATED.start + seed, 1, EVALUATED).start
    random = torch.Generator().manual_seed(first)
    shape = (count, generator.num_ws, generator.w_dim)
    z = torch.randn(shape, generator=random)
    w = (statistics or WStatistics.of(generator)).unwhiten(z).float()
    return generator.truncate(w.to(generator.w_avg.device), psi)
