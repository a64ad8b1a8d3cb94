"""All judges at one table: what they say of a picture, and of two."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from facersa.judges.calibration import calibration
from facersa.judges.heldout import load_held_out_identity
from facersa.judges.metrics import landmark_distance, mse, pose_cosine, psnr, ssim
from facersa.judges.networks import (
    load_detector,
    load_expression,
    load_identity,
    load_landmarks,
    load_lpips,
    load_pose,
)
from facersa.photo.images import resize

JUDGED_SIDE = 512


@dataclass(frozen=True)
class Report:
    """What the judges say of one picture; NaN where no face was found."""

    picture: Tensor
    train: Tensor
    heldout: Tensor
    detected: dict[str, float]
    landmarks: dict[str, Tensor]
    rotations: dict[str, Tensor]
    expression: Tensor


class Panel:
    """All judges at one table, loaded once."""

    def __init__(self) -> None:
        self.identity = load_identity()
        self.heldout = load_held_out_identity()
        self.landmarks, self.pose = load_landmarks(), load_pose()
        self.expression, self.detector = load_expression(), load_detector()
        self.lpips = load_lpips("alex")

    @torch.no_grad()
    def report(self, picture: Tensor) -> Report:
        """Judge one aligned picture (1, 3, R, R)."""
        small = resize(picture, JUDGED_SIDE)
        points = self.heldout.faces.landmarks(small)
        found = self.detector.detect(small)[0][0]
        seen = 1.0 if len(found) else math.nan
        return Report(
            picture,
            self.identity.embed(small)[0] * seen,
            self.heldout.embed(small, points)[0],
            {
                "train": float(len(found) > 0),
                "heldout": float(not points.isnan().any()),
            },
            {"train": self.landmarks.landmarks(small) * seen, "heldout": points},
            {
                "train": self.pose.rotations(small) * seen,
                "heldout": self.heldout.faces.rotations(points),
            },
            self.expression.logits(small)[0] * seen,
        )

    def identity_figures(
        self, a: Report, b: Report, stratum: str, psi: float
    ) -> dict[tuple[str, str | None], float]:
        """id, id_raw and same_person of a pair, by both judges."""
        figures: dict[tuple[str, str | None], float] = {}
        for judge in ("train", "heldout"):
            scale = calibration(judge, stratum, psi)
            first, second = getattr(a, judge), getattr(b, judge)
            cosine = torch.nn.functional.cosine_similarity(first, second, dim=0)
            figures["id_raw", judge] = float(cosine)
            figures["id", judge] = float(scale.identity(cosine))
            # A broken face hides nobody: without a face there is no verdict.
            figures["same_person", judge] = (
                math.nan if cosine.isnan() else float(scale.same_person(cosine))
            )
        return figures

    def attribute_figures(
        self, a: Report, b: Report
    ) -> dict[tuple[str, str | None], float]:
        """Landmarks (two scales), pose and expression of a pair."""
        figures: dict[tuple[str, str | None], float] = {}
        for judge in ("train", "heldout"):
            first, second = a.landmarks[judge], b.landmarks[judge]
            figures["landmarks", judge] = float(landmark_distance(first, second))
            figures["landmarks_eyes", judge] = float(
                landmark_distance(first, second, by="eyes")
            )
            figures["pose", judge] = float(
                pose_cosine(a.rotations[judge], b.rotations[judge])
            )
        figures["expression", None] = float(
            self.expression.similarity(a.expression, b.expression)
        )
        return figures

    @torch.no_grad()
    def features(self, picture: Tensor) -> Tensor:
        """What a picture classifier looks at: (F,) pooled AlexNet features.

        Means and largest values of all five levels over the picture at 256 x 256.
        """
        trunk: Any = self.lpips
        levels = trunk.net(trunk.scaling_layer(resize(picture, 256)))
        flat = [level[0].flatten(1) for level in levels]
        return torch.cat([*(x.mean(1) for x in flat), *(x.amax(1) for x in flat)])

    @torch.no_grad()
    def pixel_figures(self, a: Tensor, b: Tensor) -> dict[tuple[str, None], float]:
        """LPIPS (AlexNet), MSE, PSNR and SSIM of two pictures, on [0, 1].

        Equal pictures have an infinite PSNR; that of 8-bit rounding noise
        (58.9 dB) stands in, so that means stay finite.
        """
        rounding = 10 * math.log10(12 * 255**2)
        if a is b:
            equal = {"lpips": 0.0, "mse": 0.0, "psnr": rounding, "ssim": 1.0}
            return {(metric, None): value for metric, value in equal.items()}
        return {
            ("lpips", None): float(self.lpips(a, b)),
            ("mse", None): float(mse(a, b)),
            ("psnr", None): min(float(psnr(a, b)), rounding),
            ("ssim", None): float(ssim(a, b)),
        }
