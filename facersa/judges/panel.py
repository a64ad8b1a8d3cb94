"""All judges together: what they say of a picture, and of two."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from facersa.judges.arcface import load_insightface
from facersa.judges.calibration import EXPRESSIONS, JUDGES, calibration, centred
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
from facersa.judges.outside import gaze_distance, load_outside, mesh_distance
from facersa.people import Stratum
from facersa.photo.images import resize

JUDGED_SIDE = 512
FAMILIES = ("train", "heldout")  # judges of landmarks, pose and detection
Figures = dict[tuple[str, str | None], float]  # by metric and judge


@dataclass(frozen=True)
class Report:
    """What the judges say of one picture; NaN where no face was detected.

    Attributes:
        picture: (1, 3, R, R) in [-1, 1].
        identity: by judge, an embedding (D,).
        detected: by family, 1 or 0.
        landmarks: by family, (1, 68, 2) in sides of the picture.
        rotations: by family, the pose (1, 3, 3).
        expression: logits (7,).
        mesh: landmarks of the judge from outside, (1, 468, 2) in sides of the picture.
        gaze: where the eyes look, by the same, see ``outside.View``: (1, 2, 2).
        expression_outside: logits (7,) of the same family.
    """

    picture: Tensor
    identity: dict[str, Tensor]
    detected: dict[str, float]
    landmarks: dict[str, Tensor]
    rotations: dict[str, Tensor]
    expression: Tensor
    mesh: Tensor
    gaze: Tensor
    expression_outside: Tensor


class Panel:
    """All judges, loaded once. Of them "outside" is for reports only: see its file.

    Args:
        arcface: an ArcFace ONNX file of the user's own, one more judge of identity.

    Raises:
        AssetError: ``arcface`` is missing or not such a file.
    """

    def __init__(self, arcface: str | Path | None = None) -> None:
        self.arcface = None if arcface is None else load_insightface(arcface)
        self.identity = load_identity()
        self.heldout, self.outside = load_held_out_identity(), load_outside()
        self.landmarks, self.pose = load_landmarks(), load_pose()
        self.expression, self.detector = load_expression(), load_detector()
        self.lpips = load_lpips("alex")

    @torch.no_grad()
    def report(self, picture: Tensor) -> Report:
        """Judge one aligned picture (1, 3, R, R)."""
        small = resize(picture, JUDGED_SIDE)
        landmarks = self.heldout.faces.landmarks(small)
        detected = self.detected(small, landmarks)
        known = 1.0 if detected["train"] else math.nan
        outside = self.outside.view(small, landmarks)
        identity = {
            "train": self.identity.embed(small)[0] * known,
            "heldout": self.heldout.embed(small, landmarks)[0],
            "outside": outside.identity[0],
        }
        if self.arcface is not None:
            identity["arcface"] = self.arcface.embed(small, landmarks)[0]
        return Report(
            picture,
            identity,
            detected=detected,
            landmarks={
                "train": self.landmarks.landmarks(small) * known,
                "heldout": landmarks,
            },
            rotations={
                "train": self.pose.rotations(small) * known,
                "heldout": self.heldout.faces.rotations(landmarks),
            },
            expression=self.expression.logits(small)[0] * known,
            mesh=outside.mesh,
            gaze=outside.gaze,
            expression_outside=outside.expression[0],
        )

    @torch.no_grad()
    def detected(
        self, picture: Tensor, landmarks: Tensor | None = None
    ) -> dict[str, float]:
        """1 or 0 by family; ``landmarks`` are the held-out ones if they are known."""
        small = resize(picture, JUDGED_SIDE)
        if landmarks is None:
            landmarks = self.heldout.faces.landmarks(small)
        return {
            "train": float(len(self.detector.detect(small)[0][0]) > 0),
            "heldout": float(not landmarks.isnan().any()),
        }

    @torch.no_grad()
    def embeddings(self, picture: Tensor) -> dict[str, Tensor]:
        """The identity (D,) of ``report``, by judge; "train" embeds any picture."""
        small = resize(picture, JUDGED_SIDE)
        landmarks = self.heldout.faces.landmarks(small)
        return {
            "train": self.identity.embed(small)[0],
            "heldout": self.heldout.embed(small, landmarks)[0],
            "outside": self.outside.embed(small, landmarks)[0],
        }

    def identity_figures(
        self, a: Report, b: Report, stratum: Stratum, psi: float
    ) -> Figures:
        """id_raw, the cosine, by each judge; of calibrated ones id and same_person."""
        figures: Figures = {}
        for judge in a.identity:
            cosine = F.cosine_similarity(a.identity[judge], b.identity[judge], dim=0)
            figures["id_raw", judge] = float(cosine)
            if judge in JUDGES:
                scale = calibration(judge, stratum, psi)
                figures["id", judge] = float(scale.identity(cosine))
                figures["same_person", judge] = float(scale.same_person(cosine))
        return figures

    def attribute_figures(
        self, a: Report, b: Report, stratum: Stratum = "W", psi: float = 1.0
    ) -> Figures:
        """Landmarks (two scales), pose, gaze and expression of a pair.

        "expression" is a cosine; "expression_kept" is the same on a scale on which
        strangers of that stratum and psi are 0 on average, and the same picture is 1.
        """
        figures: Figures = {}
        for judge in FAMILIES:
            pair = a.landmarks[judge], b.landmarks[judge]
            figures["landmarks", judge] = float(landmark_distance(*pair))
            figures["landmarks_eyes", judge] = float(
                landmark_distance(*pair, by="eyes")
            )
            figures["pose", judge] = float(
                pose_cosine(a.rotations[judge], b.rotations[judge])
            )
        for by, metric in {"side": "landmarks", "eyes": "landmarks_eyes"}.items():
            figures[metric, "outside"] = float(mesh_distance(a.mesh, b.mesh, by=by))
        figures["gaze", "outside"] = float(gaze_distance(a.gaze, b.gaze))
        logits = {
            None: (a.expression, b.expression),
            "outside": (a.expression_outside, b.expression_outside),
        }
        for who, name in EXPRESSIONS.items():
            one, other = map(centred, logits[who])
            cosine = F.cosine_similarity(one, other, dim=-1)
            scale = calibration(name, stratum, psi)
            figures["expression", who] = float(cosine)
            figures["expression_kept", who] = float(scale.identity(cosine))
        return figures

    @torch.no_grad()
    def features(self, picture: Tensor) -> Tensor:
        """What a picture classifier reads: (F,) pooled AlexNet features.

        Means and largest values of all five levels over the picture at 256 x 256.
        """
        trunk: Any = self.lpips
        levels = trunk.net(trunk.scaling_layer(resize(picture, 256)))
        flat = [level[0].flatten(1) for level in levels]
        return torch.cat([*(x.mean(1) for x in flat), *(x.amax(1) for x in flat)])

    @torch.no_grad()
    def pixel_figures(self, a: Tensor, b: Tensor) -> Figures:
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
