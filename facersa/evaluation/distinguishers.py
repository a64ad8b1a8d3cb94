"""Distinguishers of right guesses and wrong ones, by their codes, and how each does."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from facersa.evaluation.results import Key
from facersa.generator.statistics import WStatistics, cosine_basis
from facersa.sealing.compact import CompactCode

FOLDS = 5  # of people, one of which is tested by what was trained on the others
TRAINED = 8  # wrong guesses of each person for training; all are for testing
AXES = 20  # principal axes of right codes that the classifier looks along
FALSE = (0.0, *torch.logspace(-4, 0, 49, dtype=torch.float64).tolist())  # of the ROC
Score = Callable[[Tensor], Tensor]
Fit = Callable[[Tensor, Tensor], Score]


def placed(right: Tensor, wrong: Tensor) -> Tensor:
    """For each score in ``right`` (n,) the share of scores in ``wrong`` (m,) below it.

    Ties count half. The mean is the area under the ROC curve (AUC); 1 less a value is
    the false positive rate (FPR) at which this one is accepted.
    """
    ranked = wrong.sort().values
    below = torch.searchsorted(ranked, right.contiguous())
    up_to = torch.searchsorted(ranked, right.contiguous(), right=True)
    return (below + up_to) / (2 * len(ranked))


def roc(places: Tensor) -> list[float]:
    """True positive rate at each FPR in ``FALSE``, from the values of ``placed``."""
    return [round(float((1 - places <= f + 1e-9).double().mean()), 4) for f in FALSE]


def cross_validated(right: Tensor, wrong: Tensor, fit: Fit) -> Tensor:
    """``placed`` values (n,) of people who were not trained on.

    Args:
        right: (n, F) features of the right guess for each person.
        wrong: (n, G, F) of wrong guesses.
        fit: takes (m, F) right and (k, F) wrong ones, returns the score.
    """
    places = torch.empty(len(right), dtype=torch.float64)
    for fold in range(FOLDS):
        tested = torch.arange(len(right)) % FOLDS == fold
        score = fit(right[~tested], wrong[~tested, :TRAINED].flatten(0, 1))
        others = score(wrong[tested].flatten(0, 1))
        places[tested] = placed(score(right[tested]), others).double()
    return places


def linear(right: Tensor, wrong: Tensor) -> Score:
    """Ridge regression to 1 and -1 on standardised features; both sides weigh alike."""
    x = torch.cat([right, wrong]).double()
    mean, spread = (right.mean(0) + wrong.mean(0)).double() / 2, x.std(0) + 1e-9
    labels = torch.cat([torch.ones(len(right)), -torch.ones(len(wrong))]).double()
    weights = torch.where(labels > 0, 0.5 / len(right), 0.5 / len(wrong)).sqrt()
    x = weights[:, None] * (x - mean) / spread
    kernel = x @ x.T
    kernel += 0.1 * kernel.diagonal().sum() / len(x) * torch.eye(len(x))
    direction = x.T @ torch.linalg.solve(kernel, weights * labels) / spread
    return lambda tested: (tested.double() - mean) @ direction


def classifier(right: Tensor, wrong: Tensor) -> Score:
    """``linear`` on coefficients, their squares, and on how right codes lie together.

    Half of the right ones give their principal axes; the other half, with its energy
    along each axis and off all of them, trains.
    """
    half, right = right[::2], right[1::2]
    mean = half.mean(0)
    axes = torch.linalg.svd(half - mean, full_matrices=False).Vh[:AXES]

    def features(x: Tensor) -> Tensor:
        along = (x - mean) @ axes.T
        rest = ((x - mean).square().sum(1) - along.square().sum(1)).clamp(min=1e-9)
        lengths = torch.stack([rest, x.square().sum(1)], 1).log()
        return torch.cat([x, x.square(), along.square(), lengths], 1)

    score = linear(features(right), features(wrong))
    return lambda tested: score(features(tested))


def refits(x: Tensor) -> dict[str, Callable[[int], Tensor]]:
    """Priors of ever more parameters fitted to codes (m, F): each draws so many.

    Mean and width of each coefficient; also a random scale for each person (lognormal);
    also correlations (principal axes, the rest independent) and quantiles.
    """
    random = torch.Generator().manual_seed(0)
    mean, width = x.mean(0), x.std(0) + 1e-6
    z = (x - mean) / width
    scales = z.square().mean(1).sqrt().log()
    axes = torch.linalg.svd(z, full_matrices=False)
    rank = min(len(axes.S), max(1, len(x) // 4))
    loads = (axes.S[:rank, None] * axes.Vh[:rank]) / (len(x) - 1) ** 0.5
    rest = (1 - loads.square().sum(0)).clamp(min=1e-6).sqrt()
    ranked = x.sort(0).values

    def normal(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=random)

    def scaled(count: int) -> Tensor:
        return (scales.mean() + scales.std() * normal(count, 1)).exp()

    def correlated(count: int) -> Tensor:
        drawn = normal(count, rank) @ loads + rest * normal(count, len(mean))
        order = (scaled(count) * drawn).argsort(0).argsort(0)
        place = (order + 0.5) / count * (len(x) - 1)
        low = place.long().clamp(max=len(x) - 2)
        return ranked.gather(0, low).lerp(ranked.gather(0, low + 1), place - low)

    return {
        "mean and width": lambda n: mean + width * normal(n, len(mean)),
        "a scale too": lambda n: mean + width * scaled(n) * normal(n, len(mean)),
        "correlations too": correlated,
    }


@dataclass
class Distinguishers:
    """Each way to tell guesses apart by their codes, and what it found.

    All look at the F coefficients that a table of bits stores, for the judges see no
    others.

    Attributes:
        table: of bits.
        values: figures so far.
        curves: true positive rates at ``FALSE``, by property and pair.
    """

    table: CompactCode
    values: dict[Key, Sequence[float]] = field(default_factory=dict)
    curves: dict[str, list[float]] = field(default_factory=dict)

    def coefficients(self, ws: Tensor, statistics: WStatistics) -> Tensor:
        """Codes (n, rows, D) to (n, F), in deviations of the table."""
        x = cosine_basis(ws.shape[1]) @ statistics.whiten(ws.cpu()) / self.table.widths
        return x[:, self.table.depths > 0].float()

    def codes(self, x: Tensor, statistics: WStatistics) -> Tensor:
        """The inverse of ``coefficients``, the others being 0."""
        depths = self.table.depths
        all_of_them = torch.zeros(len(x), *depths.shape, dtype=torch.float64)
        all_of_them[:, depths > 0] = x.double()
        z = cosine_basis(len(depths)).T @ (all_of_them * self.table.widths)
        return statistics.unwhiten(z).float()

    def ways(self) -> Mapping[str, tuple[Score, Fit]]:
        """What each looks at in coefficients (n, F), and how that is scored."""
        return {
            "mean square": (lambda x: x.square().mean(1, keepdim=True).log(), linear),
            "agreement of rows": (self._agreement, linear),
            "classifier": (lambda x: x, classifier),
        }

    def _agreement(self, x: Tensor) -> Tensor:
        """Share of the energy that the mean row holds, (n, 1), as a logarithm."""
        shared = int((self.table.depths[0] > 0).sum())
        energy = x.square()
        return (energy[:, :shared].sum(1) / energy.sum(1)).log()[:, None]

    def note(self, name: str, pair: str, places: Tensor) -> None:
        """Keep ``placed`` values of one distinguisher as AUC and ROC."""
        self.values[name, pair, "auc", None] = places.tolist()
        self.curves[f"{name}, {pair}"] = roc(places)

    def compare(self, name: str, right: Tensor, wrong: Tensor) -> None:
        """Features (n, F) of right guesses and (n, G, F) of wrong ones, all ways."""
        for pair, (view, fit) in self.ways().items():
            seen = view(wrong.flatten(0, 1)).unflatten(0, wrong.shape[:2])
            self.note(name, pair, cross_validated(view(right), seen, fit))

    def transfer(self, name: str, right: Tensor, wrong: Tensor, tested: Tensor) -> None:
        """Trained on all people, test other right guesses (m, F): photographs."""
        for pair, (view, fit) in self.ways().items():
            score = fit(view(right), view(wrong[:, :TRAINED].flatten(0, 1)))
            others = score(view(wrong[:, TRAINED:].flatten(0, 1)))
            self.note(name, f"{pair}, photographs", placed(score(view(tested)), others))
