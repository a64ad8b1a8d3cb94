"""The three groups of losses that teach a mapper the properties (section 3.3).

Pure functions of what frozen networks see in a picture, a ``View``. The paper names
the terms and leaves weights, margins and schedules unpublished; those here are ours, in
``LossWeights``. Parsing is measured by ``GeneratorParser``, not by BiSeNet, unless the
user has a file of its weights (``facersa train --bisenet``).
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from facersa.cipher.base import SLOPE, W_DIM

Figures = dict[str, Tensor]
Distance = Callable[[Tensor, Tensor], Tensor]


class View(NamedTuple):
    """A batch of codes and what the frozen networks see in their pictures.

    code: (B, rows, A) edited rows in whitened coordinates; identity: (B, 512) of
    length 1; landmarks: (B, 68, 2) in sides; picture: (B, 3, R, R) in [-1, 1]; parts:
    (B, K, S, S) shares of the parts of a face, where there is a parser; texture:
    (B, F), the input of a critic; logits: (B,) of that critic, positive for plain
    faces, where there is one. From a judge of codes, ``distilled``: perceptual and
    parsing, (B, F), of which the squared distance of two is the LPIPS distance and the
    divergence of the parts.
    """

    code: Tensor
    identity: Tensor
    landmarks: Tensor
    picture: Tensor
    parts: Tensor | None = None
    texture: Tensor | None = None
    logits: Tensor | None = None
    perceptual: Tensor | None = None
    parsing: Tensor | None = None

    def part(self, start: int, end: int) -> View:
        """Members ``start`` to ``end`` - 1 of the batch."""
        members: Any = (None if x is None else x[start:end] for x in self)
        return View(*members)


@dataclass(frozen=True)
class LossWeights:
    """Weights of the terms, and two margins.

    Attributes:
        different: identity difference.
        floor: cosine below which faces are different enough.
        power: of what is above the floor: more than 1 asks most of the pairs that are
            most alike, such as those of passwords one bit apart.
        recover_id: identity recovery.
        recover_pixels: pixel L2 of pictures that should be equal.
        recover_code: L2 of codes that should be equal: beyond the paper's list.
        code: size of the change of the edited rows.
        radius: edited rows farther out than typical codes.
        outliers: single coordinates farther out than typical codes.
        landmarks: their distance.
        lpips: perceptual distance.
        parts: face parsing.
        natural: the critic takes the face for a plain one: beyond the paper's list.
        reader: classification of the password's bits from the edited code.
        hinge: two passwords give different codes.
        margin: of that hinge, in standard deviations of w per coordinate.
    """

    different: float = 3.0
    floor: float = 0.1
    power: float = 1.0
    recover_id: float = 1.0
    recover_pixels: float = 1.0
    recover_code: float = 0.0
    code: float = 0.01
    radius: float = 8.0
    outliers: float = 30.0
    landmarks: float = 5000.0
    lpips: float = 0.5
    parts: float = 0.2
    natural: float = 0.0
    reader: float = 0.0
    hinge: float = 0.0
    margin: float = 0.5

    def ramped(self, step: int, steps: float) -> LossWeights:
        """Recovery from 1 % of its weight to all of it, over so many steps; 0: all."""
        ramp = 0.01 ** max(0.0, 1 - step / steps) if steps else 1.0
        return replace(
            self,
            recover_id=self.recover_id * ramp,
            recover_pixels=self.recover_pixels * ramp,
            recover_code=self.recover_code * ramp,
        )


def identity_difference(
    a: Tensor, b: Tensor, floor: float = 0.0, power: float = 1.0
) -> Tensor:
    """mean max(cos(a, b) - floor, 0)^power of unit identities (B, 512): 0 if different.

    Its gradient is zero at a = b: a network that changes nothing stays so.
    """
    return F.relu((a * b).sum(1) - floor).pow(power).mean()


def identity_recovery(a: Tensor, b: Tensor) -> Tensor:
    """mean (1 - cos(a, b)) of unit identities (B, 512): 0 if the same."""
    return (1 - (a * b).sum(1)).mean()


def pixel_l2(a: View, b: View) -> Tensor:
    """Mean squared difference of the pictures, in [-1, 1]."""
    return F.mse_loss(a.picture, b.picture)


def landmark_l2(a: Tensor, b: Tensor) -> Tensor:
    """Mean squared distance of landmarks (B, 68, 2), in sides squared."""
    return (a - b).square().sum(-1).mean()


def code_size(code: Tensor, edited: Tensor) -> Tensor:
    """Mean square change of whitened rows (B, rows, A): the w regularisation."""
    return F.mse_loss(edited, code)


def radius_excess(code: Tensor, edited: Tensor) -> Tensor:
    """How far rows lie outside the shell of typical codes: mean max(r / r0 - 1, 0)^2.

    r is the length of a whitened row (B, rows, A), and r0 that of the person's own
    row or of a typical one of psi = .85, whichever is longer.
    """
    own = code.square().mean(-1).clamp_min(0.85**2)
    return F.relu((edited.square().mean(-1) / own + 1e-8).sqrt() - 1).square().mean()


def coordinate_outliers(code: Tensor, edited: Tensor, limit: float = 2.0) -> Tensor:
    """How far single coordinates lie outside +-limit: mean max(|z'| - limit, 0)^2.

    A row (B, rows, A) of typical length may still belong to no person: far out along
    a few axes. Where a person's own coordinate lies beyond the limit, it is the limit.
    """
    return F.relu(edited.abs() - code.abs().clamp_min(limit)).square().mean()


def parsing_divergence(a: Tensor, b: Tensor) -> Tensor:
    """Mean Kullback-Leibler divergence of shares of parts (B, K, S, S).

    sum_k a_k log(a_k / b_k) at every place: 0 where both are parsed alike.
    """
    eps = 1e-6
    return (a * ((a + eps).log() - (b + eps).log())).sum(1).mean()


def unnatural(logits: Tensor) -> Tensor:
    """mean log(1 + exp(-l)) of a critic's logits (B,): 0 for surely plain faces."""
    return F.softplus(-logits).mean()


def password_hinge(a: Tensor, b: Tensor, margin: float) -> Tensor:
    """mean max(margin - rms(a - b), 0): two passwords must give different codes."""
    distance = ((a - b).square().mean((1, 2)) + 1e-8).sqrt()
    return F.relu(margin - distance).mean()


def password_reading(logits: Tensor, code: Tensor) -> Tensor:
    """Binary cross-entropy of logits (B, N) for the bits of passwords (B, N).

    Raises:
        ValueError: ``code`` is a sum of passwords, which has no bits.
    """
    if not torch.equal(code.abs(), torch.full_like(code, 0.5)):
        raise ValueError(
            "expected passwords, of entries -1/2 and 1/2; a sum of passwords has no "
            "bits to classify."
        )
    return F.binary_cross_entropy_with_logits(logits, code + 0.5)


def quality(
    original: View, other: View, weights: LossWeights, lpips: Distance | None = None
) -> Figures:
    """All but identity stays: landmarks, code, LPIPS, parsing, a plain face's look."""
    terms = {
        "landmarks": weights.landmarks
        * landmark_l2(original.landmarks, other.landmarks),
        "code": weights.code * code_size(original.code, other.code),
        "radius": weights.radius * radius_excess(original.code, other.code),
        "outliers": weights.outliers * coordinate_outliers(original.code, other.code),
    }
    if original.perceptual is not None and other.perceptual is not None:
        distance = (original.perceptual - other.perceptual).square().sum(1).mean()
        terms["lpips"] = weights.lpips * distance
    elif lpips is not None:
        distance = lpips(original.picture, other.picture).mean()
        terms["lpips"] = weights.lpips * distance
    if original.parsing is not None and other.parsing is not None:
        divergence = (original.parsing - other.parsing).square().sum(1).mean()
        terms["parts"] = weights.parts * divergence
    elif original.parts is not None and other.parts is not None:
        divergence = parsing_divergence(original.parts, other.parts)
        terms["parts"] = weights.parts * divergence
    if other.logits is not None:
        terms["natural"] = weights.natural * unnatural(other.logits)
    return terms


def single_loss(
    views: Mapping[str, View], weights: LossWeights, lpips: Distance | None = None
) -> Figures:
    """L_single over "I", "Ie1", "Ie2", "Ie1d'" (a wrong password) and "Ie1d1".

    sum of identity_difference over (I, Ie1), (I, Ie2), (I, Ie1d'), (Ie1, Ie2)
    and, beyond the paper's list, (Ie1, Ie1d')
    + recovery of I from Ie1d1 (pixels and identity)
    + quality of Ie1, Ie2 and Ie1d', and of Ie1d1 where it is not I itself
    + password_hinge of Ie1 and Ie2, also beyond that list
    """
    pairs = [("I", "Ie1"), ("I", "Ie2"), ("I", "Ie1d'"), ("Ie1", "Ie2")]
    pairs.append(("Ie1", "Ie1d'"))
    parts = [_different([(views[a], views[b]) for a, b in pairs], weights)]
    parts.append(_recovery(views["I"], views["Ie1d1"], weights))
    changed = [views["Ie1"], views["Ie2"], views["Ie1d'"]]
    if views["Ie1d1"] is not views["I"]:  # an exact mapper returns I
        changed.append(views["Ie1d1"])
    parts += [_share(quality(views["I"], x, weights, lpips), 3) for x in changed]
    hinge = password_hinge(views["Ie1"].code, views["Ie2"].code, weights.margin)
    parts.append({"hinge": weights.hinge * hinge})
    return _added(parts)


def sequential_loss(
    chain: Sequence[View], weights: LossWeights, lpips: Distance | None = None
) -> Figures:
    """L_seq over I^0 ... I^2m: e_1 ... e_m, then d_m ... d_1, one after the other.

        mean over k < m of the recovery of I^k in I^(2m-k)
        + quality of I^1 ... I^m, and of those on the way back that are new
        + identity_difference of every two of I^0 ... I^m

    Raises:
        ValueError: not 2m + 1 views with m from 2 to 4.
    """
    m = len(chain) // 2
    if len(chain) != 2 * m + 1 or not 2 <= m <= 4:
        raise ValueError(
            f"a chain of m = 2 to 4 passwords has 2m + 1 views, got {len(chain)}."
        )
    parts = []
    for k in range(m):
        parts.append(_share(_recovery(chain[k], chain[2 * m - k], weights), m))
    for k, view in enumerate(chain[1:], start=1):
        if k <= m or view is not chain[2 * m - k]:  # an exact mapper returns that one
            parts.append(_share(quality(chain[0], view, weights, lpips), m))
    parts.append(_different(list(combinations(chain[: m + 1], 2)), weights))
    return _added(parts)


def associated_loss(chain: View, direct: View, weights: LossWeights) -> Figures:
    """L_asso: one summed password gives what the chain of its terms gives.

    ``chain`` is I^j, reached from I^(i-1) by e_i ... e_j, and ``direct`` is I^(i-1)
    under e_i + ... + e_j, j > i: recovery of identity and pixels.
    """
    return _recovery(chain, direct, weights)


def all_terms(
    views: Mapping[str, View],
    groups: Collection[str],
    weights: LossWeights,
    lpips: Distance | None = None,
    *,
    reading: tuple[Tensor, Tensor] | None = None,
) -> list[Figures]:
    """The terms of some of the three groups, over the codes of ``chains.named_codes``.

    Args:
        views: of these codes, by their names; a chain's are called "I^0" to "I^2m".
        groups: of "single", "sequential" and "associated".
        weights: of the terms.
        lpips: perceptual distance, where views have pictures.
        reading: logits of a ``PasswordReader`` for "Ie1", and the password.
    """
    terms = []
    if "single" in groups:
        terms.append(single_loss(views, weights, lpips))
    if "sequential" in groups:
        chain = [view for name, view in views.items() if name.startswith("I^")]
        terms.append(sequential_loss(chain, weights, lpips))
    if "associated" in groups:
        terms.append(associated_loss(views["chained"], views["direct"], weights))
    if reading is not None and weights.reader:
        terms.append({"reader": weights.reader * password_reading(*reading)})
    return terms


def total(terms: Sequence[Figures]) -> tuple[Tensor, dict[str, float]]:
    """The sum of all terms, and, for the log, the sum of those of each name."""
    loss = torch.stack([value for term in terms for value in term.values()]).sum()
    return loss, {name: value.item() for name, value in _added(terms).items()}


def _recovery(a: View, b: View, weights: LossWeights) -> Figures:
    return {
        "recover_id": weights.recover_id * identity_recovery(a.identity, b.identity),
        "recover_pixels": weights.recover_pixels * pixel_l2(a, b),
        "recover_code": weights.recover_code * F.mse_loss(a.code, b.code),
    }


def _different(pairs: Sequence[tuple[View, View]], weights: LossWeights) -> Figures:
    found = [
        identity_difference(a.identity, b.identity, weights.floor, weights.power)
        for a, b in pairs
    ]
    return {"different": weights.different * torch.stack(found).mean()}


def _share(figures: Figures, parts: int) -> Figures:
    return {name: value / parts for name, value in figures.items()}


def _added(parts: Sequence[Figures]) -> Figures:
    added: Figures = {}
    for figures in parts:
        for name, value in figures.items():
            added[name] = added[name] + value if name in added else value
    return added


class PasswordReader(nn.Module):
    """Training aid: classify the password's N bits from the first edited row."""

    def __init__(self, num_bits: int = 16) -> None:
        super().__init__()
        self.network = nn.Sequential(
            nn.Linear(W_DIM, 64),
            nn.LeakyReLU(SLOPE),
            nn.Linear(64, num_bits),
            nn.LeakyReLU(SLOPE),
            nn.Linear(num_bits, num_bits),
        )

    def forward(self, row: Tensor) -> Tensor:
        """Rows (B, 512) to logits (B, N), positive where the bit is +1/2."""
        return self.network(row)
