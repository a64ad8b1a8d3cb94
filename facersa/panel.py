"""All judges at one table: what they say of a picture, and of two."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from facersa.alignment import align
from facersa.errors import ImageError
from facersa.heldout import load_held_out_identity
from facersa.images import resize
from facersa.judges import (
    load_detector,
    load_expression,
    load_identity,
    load_landmarks,
    load_lpips,
    load_pose,
)
from facersa.metrics import (
    calibration,
    landmark_distance,
    mse,
    or_none,
    pose_cosine,
    psnr,
    ssim,
)
from facersa.squares import crop

JUDGED_SIDE = 512


@dataclass(frozen=True)
class Report:
    """What the judges say of one picture; NaN where no face was found."""

    picture: Tensor
    train: Tensor
    heldout: Tensor
    detected: dict[str, float]
    points: dict[str, Tensor]
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
        points = self.heldout.faces.points(small)
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
            {"train": self.landmarks.points(small) * seen, "heldout": points},
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
            first, second = a.points[judge], b.points[judge]
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


def compare(first: Tensor, second: Tensor, panel: Panel) -> dict[str, float | None]:
    """How alike two pictures (1, 3, H, W) of one size are, as ``facersa compare`` says.

    Identity, landmarks, pose and expression look at the face, cropped by the
    place of the first picture's; LPIPS, MSE, PSNR and SSIM at the whole, on the
    range [0, 1]. ``None`` where a judge found no face. Landmarks and pose are the
    held-out judge's.

    Raises:
        ImageError: different sizes, or no single face in the first picture.
    """
    if first.shape != second.shape:
        raise ImageError(
            f"the pictures are {tuple(first.shape[:1:-1])} and "
            f"{tuple(second.shape[:1:-1])} pixels (width, height); compare two of "
            "one size."
        )
    aligned = align(first, JUDGED_SIDE, faces=panel.heldout.faces)
    a = panel.report(aligned.image)
    b = panel.report(crop(second, aligned.quad, JUDGED_SIDE).image)
    identity = panel.identity_figures(a, b, "W", 1.0)
    attributes = panel.attribute_figures(a, b)
    pixels = panel.pixel_figures(first, second)
    figures = {
        "id_train": identity["id", "train"],
        "id_heldout": identity["id", "heldout"],
        "lpips": pixels["lpips", None],
        "mse": pixels["mse", None],
        "psnr": pixels["psnr", None],
        "ssim": pixels["ssim", None],
        "landmarks": attributes["landmarks", "heldout"],
        "pose": attributes["pose", "heldout"],
        "expression": attributes["expression", None],
    }
    return {name: or_none(value) for name, value in figures.items()}
