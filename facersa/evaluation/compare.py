"""How alike two pictures are, as ``facersa compare`` says."""

from __future__ import annotations

from torch import Tensor

from facersa.errors import ImageError
from facersa.evaluation.results import or_none
from facersa.judges.calibration import JUDGES
from facersa.judges.panel import JUDGED_SIDE, Panel
from facersa.photo.align import align
from facersa.photo.square import crop


def compare(first: Tensor, second: Tensor, panel: Panel) -> dict[str, float | None]:
    """How alike two pictures (1, 3, H, W) of one size are, as ``facersa compare`` says.

    Identity, landmarks, pose and expression compare the faces, both cropped where the
    first picture has its face; LPIPS, MSE, PSNR and SSIM the whole pictures, on the
    range [0, 1]. ``None`` where a judge detects no face. "landmarks" and "pose" are the
    held-out judge's; "gaze" and what ends in "outside" come from ``judges.outside``.
    "id_arcface" is a raw cosine, present where ``panel`` has such a network of the
    user's.

    Raises:
        ImageError: different sizes, or not exactly one face in the first picture.
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
    figures = {f"id_{judge}": identity["id", judge] for judge in JUDGES}
    if ("id_raw", "arcface") in identity:
        figures["id_arcface"] = identity["id_raw", "arcface"]
    figures |= {
        "lpips": pixels["lpips", None],
        "mse": pixels["mse", None],
        "psnr": pixels["psnr", None],
        "ssim": pixels["ssim", None],
        "landmarks": attributes["landmarks", "heldout"],
        "pose": attributes["pose", "heldout"],
        "expression": attributes["expression", None],
        "landmarks_outside": attributes["landmarks", "outside"],
        "gaze": attributes["gaze", "outside"],
        "expression_outside": attributes["expression", "outside"],
    }
    return {name: or_none(value) for name, value in figures.items()}
