"""What works on pixels: coarse squares, blur, a mask, and the mean of k faces.

They need neither a network nor a password and cannot be undone. All change one oval of
the aligned square in which FFHQ's alignment puts every face.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from facersa.evaluation.baselines.base import Facts
from facersa.generator.base import Generator
from facersa.generator.openvino import Renderer
from facersa.ops import check_shape

CENTRE, RADII = (0.54, 0.5), (0.34, 0.27)  # rows, columns; of the oval, in sides
GALLERY = range(8_000, 8_032)  # seeds of the people whose mean replaces a face
WORKING_SIDE = 64  # on which faces are compared


def oval(side: int) -> Tensor:
    """(1, 1, side, side): 1 in the face's oval, 0 outside."""
    place = (torch.arange(side) + 0.5) / side
    rows, columns = (
        ((place - c) / r).square() for c, r in zip(CENTRE, RADII, strict=True)
    )
    return ((rows[:, None] + columns) <= 1).float()[None, None]


def inside(pictures: Tensor, changed: Tensor) -> Tensor:
    """``changed`` (B, 3, R, R) in the oval of ``pictures``, they themselves outside."""
    check_shape(pictures, None, 3, None, None, name="pictures")
    return torch.where(oval(pictures.shape[-1]) > 0, changed, pictures)


class Pixelation:
    """Squares of one colour, ``across`` of them over the whole picture."""

    facts = Facts(
        "pixelation",
        "Newspapers and television, before 1990; broken by McPherson, Shokri and "
        "Shmatikov: Defeating image obfuscation with deep learning. 2016",
        1990,
        "mcpherson2016defeating",
        "Each square becomes its mean colour.",
        (("place", "a rectangle", "an oval"),),
    )

    def __init__(self, across: int = 16) -> None:
        self.across = across

    def __call__(self, pictures: Tensor) -> Tensor:
        """Aligned faces (B, 3, R, R), R a multiple of ``across``."""
        size = pictures.shape[-1] // self.across
        means = F.avg_pool2d(pictures, size)
        return inside(pictures, F.interpolate(means, pictures.shape[-2:]))


class Blur:
    """A Gaussian blur whose deviation is ``width`` of the picture's side."""

    facts = Facts(
        "blur",
        "Photographers and Street View; broken by McPherson, Shokri and Shmatikov 2016",
        2008,
        "mcpherson2016defeating",
        "Neighbouring pixels are averaged.",
        (("place", "a rectangle or ellipse", "an oval"),),
    )

    def __init__(self, width: float = 0.035) -> None:
        self.width = width

    def __call__(self, pictures: Tensor) -> Tensor:
        """Aligned faces (B, 3, R, R)."""
        side, small = pictures.shape[-1], 128  # nothing finer is left anyway
        x = F.interpolate(pictures, (small, small), mode="area")
        deviation = self.width * small
        reach = round(3 * deviation)
        offsets = torch.arange(-reach, reach + 1) / deviation
        kernel = torch.softmax(-offsets.square() / 2, 0)
        for shape in ((1, 1, -1, 1), (1, 1, 1, -1)):
            pad = (0, 0, reach, reach) if shape[2] == -1 else (reach, reach, 0, 0)
            weight = kernel.reshape(shape).repeat(3, 1, 1, 1)
            x = F.conv2d(F.pad(x, pad, mode="replicate"), weight, groups=3)
        return inside(pictures, F.interpolate(x, (side, side), mode="bilinear"))


class Mask:
    """The oval in one grey."""

    facts = Facts(
        "mask",
        "The censor bar of printed photographs; nobody's invention",
        1900,
        "mcpherson2016defeating",
        "Nothing of the face is left.",
        (("colour", "black", "grey"),),
    )

    def __call__(self, pictures: Tensor) -> Tensor:
        """Aligned faces (B, 3, R, R)."""
        return inside(pictures, torch.zeros_like(pictures))


class KSame:
    """The mean of the ``k`` faces of a gallery that are most like the person's.

    Args:
        generator: paints the gallery, previews of people whom no table measures.
        k: faces in each mean.
    """

    facts = Facts(
        "k-same mean",
        "Newton, Sweeney and Malin: Preserving privacy by de-identifying face images. "
        "IEEE TKDE 2005",
        2005,
        "newton2005ksame",
        "A face becomes the mean of k faces, so at most one guess in k is right.",
        (
            ("gallery", "the data set, the person in it", "32 strangers"),
            ("guarantee", "1 in k, each mean serving k people", "none"),
            ("alignment", "eyes", "FFHQ's square"),
        ),
    )

    def __init__(self, generator: Generator, k: int = 8) -> None:
        self.k = k
        self._generator = generator
        self._gallery: Tensor | None = None

    @property
    def gallery(self) -> Tensor:
        """(32, 3, 256, 256), painted once."""
        if self._gallery is None:
            codes = self._generator.sample(GALLERY, 0.7)
            self._gallery = Renderer(self._generator).preview(codes)
        return self._gallery

    def __call__(self, pictures: Tensor) -> Tensor:
        """Aligned faces (B, 3, R, R)."""
        sides = (WORKING_SIDE, WORKING_SIDE)
        shape = oval(WORKING_SIDE)
        small = F.interpolate(pictures, sides, mode="area") * shape
        others = F.interpolate(self.gallery, sides, mode="area") * shape
        gaps = torch.cdist(small.flatten(1), others.flatten(1))
        nearest = gaps.topk(self.k, largest=False).indices
        means = torch.stack([self.gallery[chosen].mean(0) for chosen in nearest])
        return inside(
            pictures, F.interpolate(means, pictures.shape[-2:], mode="bilinear")
        )
