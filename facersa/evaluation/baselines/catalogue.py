"""Every other system by name, in the order of history."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch

from facersa.evaluation.baselines.base import CodeSystem, PictureSystem
from facersa.evaluation.baselines.learned import load_baseline
from facersa.evaluation.baselines.noised import EPSILONS, IdentityDPLike, LiLike
from facersa.evaluation.baselines.pixels import Blur, KSame, Mask, Pixelation
from facersa.evaluation.baselines.redrawn import CiaganLike, DeepPrivacyLike
from facersa.evaluation.baselines.turned import CaoLike, SignFlipLike
from facersa.generator.base import Generator
from facersa.training.recipes import named

System = PictureSystem | CodeSystem
Build = Callable[[Generator, torch.Generator | None], System]


@dataclass(frozen=True)
class Entry:
    """How one system is built, and whether it changes pictures or codes."""

    build: Build
    pictures: bool = False


def _noise(epsilon: float) -> Entry:
    return Entry(lambda generator, rng: IdentityDPLike(epsilon, rng))


def _learned(name: str) -> Entry:
    return Entry(lambda generator, rng: load_baseline(name).to(generator.w_avg.device))


BASELINES: Mapping[str, Entry] = {
    "mask": Entry(lambda generator, rng: Mask(), pictures=True),
    "pixelation": Entry(lambda generator, rng: Pixelation(), pictures=True),
    "k-same mean": Entry(lambda generator, rng: KSame(generator), pictures=True),
    "blur": Entry(lambda generator, rng: Blur(), pictures=True),
    "DeepPrivacy-like": Entry(DeepPrivacyLike),
    "CIAGAN-like": Entry(lambda generator, rng: CiaganLike(generator)),
    "FIT-like": _learned("fit"),
    "Li-like": Entry(lambda generator, rng: LiLike()),
    "Cao-like": Entry(lambda generator, rng: CaoLike()),
    **{f"IdentityDP-like, eps {epsilon:g}": _noise(epsilon) for epsilon in EPSILONS},
    "RiDDLE-like": _learned("riddle"),
    "sign-flip-like": Entry(lambda generator, rng: SignFlipLike()),
}


def build_baseline(
    name: str, generator: Generator, rng: torch.Generator | None = None
) -> System:
    """A system of ``BASELINES``; ``rng`` draws what is not seeded otherwise.

    Raises:
        FaceRSAError: there is none of this name.
    """
    return named("system", name, BASELINES).build(generator, rng)
