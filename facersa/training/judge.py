"""Train the judge of codes (``distilled``) on a pool of edited and judged people."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from facersa.cipher.base import LearnedCipher
from facersa.cipher.description import fingerprint
from facersa.ops import mixed
from facersa.training.distilled import (
    SIZES,
    UNSEEN,
    CodeJudge,
    JudgeConfig,
    packed,
    predicted_distances,
)
from facersa.training.loop import TrainConfig, seeded, stored
from facersa.training.pool import FIELDS, Judged, PoolConfig, load_pool, make_pool

OWN_FROM = 2048  # number of the first person of the second pool, at least
BROKEN = 3.0  # typical distances from which on pairs count less


def true_distances(fields: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """What the judges say of all pairs, (P, K, K), of K codes of each of P people.

    ``fields`` (P, K, ...) are those of a pool. Roots of what ``SIZES`` lists, and for
    identity the chord, sqrt(2 - 2 cos): so small distances count.
    """
    flat = {k: v.float().flatten(2) for k, v in fields.items()}
    lengths = {"identity": 1.0, "landmarks": 68, "picture": flat["picture"].shape[2]}
    squares = {
        name: torch.cdist(flat[name], flat[name]).square() / lengths.get(name, 1.0)
        for name in ("identity", "landmarks", "picture", "perceptual")
    }
    shares = fields["parts"].float().clamp_min(0)
    a, b = (shares + 1e-6)[:, :, None], (shares + 1e-6)[:, None]
    divergence = (a * (a.log() - b.log())).sum(3).mean((3, 4))
    squares["parts"] = (divergence + divergence.transpose(1, 2)).clamp_min(0) / 2
    return {name: square.sqrt() for name, square in squares.items()}


class JudgeTask:
    """Train a ``CodeJudge`` on a pool; the last people of the pool are left out.

    Args:
        judged: paints and judges the pool.
        judge: sizes of what is trained.
        edits: codes of each person in the pool, beside their own.
        mapper: learned from an earlier judge; then there is a second pool, of half as
            many other people, and most of its edits are this mapper's.
        pool: folder of the first pool, such as an earlier run's; the run's own by
            default.
        seed: of the first weights.
    """

    name = "judge"

    def __init__(
        self,
        judged: Judged,
        judge: JudgeConfig | None = None,
        *,
        edits: int = 8,
        mapper: LearnedCipher | None = None,
        pool: Path | None = None,
        seed: int = 0,
    ) -> None:
        self.pool = pool
        self.judged, self.edits, self.mapper = judged, edits, mapper
        with seeded(seed):
            self.judge = CodeJudge(judge)
        self.judge.to(judged.generator.w_avg)
        self.module: nn.Module = self.judge

    @property
    def settings(self) -> Mapping[str, Any]:
        """The network's sizes, and the pool's."""
        own = None if self.mapper is None else fingerprint(self.mapper)
        judge = asdict(self.judge.config)
        return {"judge": judge, "edits": self.edits, "mapper": own}

    def prepare(self, config: TrainConfig, folder: Path) -> None:
        """Make what the pool lacks, read it, and compute all distances."""
        self.config, layers = config, self.judge.config.layers
        settings = PoolConfig(config.pool, self.edits, layers=layers, seed=config.seed)
        place = self.pool or folder / "pool"
        make_pool(self.judged, settings, place)
        pools = [load_pool(place, config.pool)]
        if self.mapper is not None:
            own = replace(
                settings, people=config.pool // 2, first=max(OWN_FROM, config.pool)
            )
            make_pool(self.judged, own, folder / "own", mapper=self.mapper)
            pools.append(load_pool(folder / "own", own.people))
        splits = [round((1 - UNSEEN) * len(pool["ws"])) for pool in pools]
        self.split = sum(splits)
        pool = {}
        for name in pools[0]:
            taught = [p[name][:n] for p, n in zip(pools, splits, strict=True)]
            left_out = [p[name][n:] for p, n in zip(pools, splits, strict=True)]
            pool[name] = torch.cat(taught + left_out)
        device = self.judged.generator.w_avg.device
        self.ws, self.rows = pool["ws"].to(device), pool["rows"].to(device)
        parts = [
            true_distances({k: pool[k][i : i + 64] for k in FIELDS})
            for i in range(0, len(self.ws), 64)
        ]
        self.distances = {
            name: torch.cat([part[name] for part in parts]).to(device) for name in SIZES
        }
        self.typical = {
            name: float(d[: self.split].flatten()[::7].median())
            for name, d in self.distances.items()
        }
        scale = [1.0, *(self.typical[name] for name in list(SIZES)[1:])]
        self.judge.scale.copy_(torch.tensor(scale))

    def _predicted(self, people: Tensor) -> dict[str, Tensor]:
        codes = self.rows.shape[1]
        ws = self.ws[people].float()[:, None].repeat(1, codes, 1, 1)
        ws[:, :, list(self.judge.config.layers)] = self.rows[people].float()
        vectors = self.judge(ws.flatten(0, 1))
        return predicted_distances(
            {name: v.unflatten(0, (-1, codes)) for name, v in vectors.items()}
        )

    def loss(self, step: int, rng: torch.Generator) -> tuple[Tensor, dict[str, float]]:
        """Of all pairs of codes of ``batch`` people: how wrong the distances are.

        Huber losses in units of the typical distance; a face that broke hardly counts.
        """
        self.judge.train()
        people = torch.randint(self.split, (self.config.batch,), generator=rng)
        people = people.to(self.ws.device)
        with mixed(people.device):
            predicted = self._predicted(people)
        terms = {}
        for name in SIZES:
            true = self.distances[name][people] / self.typical[name]
            error = predicted[name] / self.typical[name] - true
            weight = 1 / (1 + (true / BROKEN).square())
            huber = F.smooth_l1_loss(error, error * 0, beta=0.5, reduction="none")
            terms[name] = (weight * huber).mean()
        loss = 2 * terms["identity"] + torch.stack([*terms.values()]).sum()
        return loss, {name: term.item() for name, term in terms.items()}

    def shipped(self) -> dict[str, Tensor]:
        """The judge, in eight bits."""
        return packed(stored(self.judge))

    @torch.no_grad()
    def measure(self) -> dict[str, float]:
        """On people left out, over all pairs of their codes.

        Of the identities' cosines and, by name, of the other distances: the correlation
        of predictions and answers; of the cosines also the mean absolute error, and the
        mean error. Faces that broke are left out.
        """
        self.judge.eval()
        people = torch.arange(self.split, len(self.ws), device=self.ws.device)
        predicted = self._predicted(people)
        figures: dict[str, float] = {"people": float(len(people))}
        codes = self.rows.shape[1]
        first, second = torch.triu_indices(codes, codes, 1)
        for name in SIZES:
            told = predicted[name][:, first, second].flatten()
            true = self.distances[name][people][:, first, second].flatten()
            usual = true < 2 * BROKEN * self.typical[name]
            told, true = told[usual], true[usual]
            if name == "identity":
                told, true = 1 - told.square() / 2, 1 - true.square() / 2
                figures["error identity"] = float((told - true).abs().mean())
                figures["bias identity"] = float((told - true).mean())
            figures[f"correlation {name}"] = float(
                torch.corrcoef(torch.stack([told, true]))[0, 1]
            )
        return figures
