"""Everybody who is ever drawn, and from which seeds."""

from __future__ import annotations

import torch
from torch import Tensor

from facersa.cipher.password import Password
from facersa.cipher.rotation import RotationCipher
from facersa.errors import FaceRSAError
from facersa.generator.base import Generator
from facersa.generator.statistics import WStatistics

ENCRYPTED_EVERY = 4  # one in so many people is encrypted, under a random password


@torch.no_grad()
def training_codes(generator: Generator, count: int, seed: int) -> Tensor:
    """Codes (count, 16, 512): those of ``varied_codes``, every fourth encrypted."""
    ws = varied_codes(generator, count, seed)
    cipher = RotationCipher().to(ws.device)
    chosen = torch.arange(ENCRYPTED_EVERY - 1, count, ENCRYPTED_EVERY)
    if len(chosen):
        passwords = [
            Password.random(cipher.num_bits, seed=seed + int(k)).code for k in chosen
        ]
        ws[chosen] = cipher(ws[chosen], torch.cat(passwords).to(ws.device))
    return ws


FIRST_SEED = 10_000  # people; kept apart from training and calibration


def people(
    generator: Generator, kind: str, psi: float, n: int, seed: int = 0
) -> Tensor:
    """Codes (n, 16, 512) nobody trained on: of a stratum, or encrypted ones of W."""
    start = FIRST_SEED + 2 * seed * n
    if kind != "encrypted":
        return sample_stratum(generator, kind, psi, n, first_seed=start)
    ws = sample_stratum(generator, "W", psi, n, first_seed=start)
    cipher = RotationCipher()
    codes = [Password.random(cipher.num_bits, seed=seed + k).code for k in range(n)]
    return cipher(ws, torch.cat(codes))


TRAIN_SEED = 1_000_000  # people below this number are never trained on


def varied_codes(generator: Generator, count: int, seed: int) -> Tensor:
    """Codes (count, 16, 512) of the kinds the package meets, one stream each.

    Half are one person in every row; a quarter mix two people at a random row;
    a quarter carry a small offset of their own in every row, as codes of
    photographs do. Truncation is uniform in [0.5, 1].
    """
    codes = []
    for index in range(count):
        rng = torch.Generator().manual_seed(seed + index)
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


LAST_SEED = 1_000_000  # from here on people may have been trained on


def draw_people(
    generator: Generator, people: int, psi: float, seed: int = 0
) -> tuple[Tensor, Tensor]:
    """People nobody trained on, and as many others: two (people, 16, 512) in W.

    Every seed draws other people, and nobody is both person and donor.

    Raises:
        FaceRSAError: no people, or more than the range of seeds holds.
    """
    first = FIRST_SEED + 2 * people * seed
    if people < 1 or seed < 0 or first + 2 * people > LAST_SEED:
        raise FaceRSAError(
            f"cannot draw {people} people and {people} donors for seed {seed}; "
            "ask for 1 person at least, a seed from 0, and fewer in all."
        )
    codes = generator.sample(range(first, first + 2 * people), psi)
    return codes[:people], codes[people:]


def draw_noise(generator: Generator, people: int, psi: float, seed: int = 0) -> Tensor:
    """Donors that are nobody: every row a fresh draw of its own, (people, 16, 512).

    Normal with the mean and the covariance of w, truncated by ``psi``.
    """
    random = torch.Generator().manual_seed(FIRST_SEED + seed)
    shape = (people, generator.num_ws, generator.w_dim)
    w = WStatistics.load().unwhiten(torch.randn(shape, generator=random)).float()
    return generator.truncate(w.to(generator.w_avg.device), psi)


STRATA = ("W", "row-mixed")

CALIBRATION_SEED = 7_000_000  # people nobody else draws


def sample_stratum(
    generator: Generator,
    stratum: str,
    psi: float,
    people: int,
    *,
    first_seed: int = CALIBRATION_SEED,
) -> Tensor:
    """W+ codes (people, 16, 512) of people who share no row with one another.

    "W": one w in every row. "row-mixed": rows 0 to k - 1 of one person and rows k
    to 15 of another, k uniform in 1 ... 15, both persons used this once. Seeds
    count from ``first_seed``, one a person.
    """
    if stratum not in STRATA:
        raise ValueError(f"stratum must be one of {STRATA}, got {stratum!r}.")
    start = first_seed + people
    coarse = generator.sample(range(first_seed, start), psi)
    if stratum == "W":
        return coarse
    fine = generator.sample(range(start, start + people), psi)
    random = torch.Generator().manual_seed(first_seed)
    cut = torch.randint(1, generator.num_ws, (people, 1, 1), generator=random)
    rows = torch.arange(generator.num_ws)[None, :, None]
    return torch.where(rows.to(coarse.device) < cut.to(coarse.device), coarse, fine)
