"""How alike two pictures are, as ``facersa compare`` says."""

from __future__ import annotations

from torch import Tensor

from facersa.errors import ImageError
from facersa.evaluation.results import or_none
from facersa.judges.panel import JUDGED_SIDE, Panel
from facersa.photo.align import align
from facersa.photo.square import crop


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
