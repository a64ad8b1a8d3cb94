"""IdentityDP-like and Li-like: noise on identity, and shifts of attributes.

Both move the whitened code where it is and cannot be undone: the noise is drawn anew at
each call, and of a shifted attribute only the far side is left.
"""

from __future__ import annotations

import torch
from torch import Tensor

from facersa.cipher.steady import KEPT, LAYERS, kept_directions
from facersa.evaluation.baselines.base import (
    FACE_ROWS,
    NUM_BITS,
    Edit,
    Facts,
    edit_whitened,
)
from facersa.generator.statistics import WStatistics

LIMIT = 2.0  # to which whitened coordinates are clipped
RADIUS = 0.7  # root mean square of a coordinate, where people of psi .7 are
EPSILONS = (32.0, 8.0, 2.0)
POSES = 3  # the first kept directions; gender, age and skin follow
FAR = 2.0  # where an attribute is moved, in standard deviations


class IdentityDPLike:
    """Laplace noise of scale 2 LIMIT / epsilon on each number of the identity vector.

    That vector is the mean of the whitened rows. A number, clipped to +-LIMIT, has a
    sensitivity of 2 LIMIT, so this noise makes it epsilon-private. All 512 together are
    so with 512 epsilon: a budget that promises nothing, so what the noise does to a
    recogniser has to be measured. Then the vector returns to the typical radius, which
    sees noisy values only and costs no privacy.

    Args:
        epsilon: of one coordinate; less is more noise.
        rng: of the noise; by default nothing seeds it.
    """

    num_bits = NUM_BITS
    decrypt: Edit | None = None

    def __init__(self, epsilon: float, rng: torch.Generator | None = None) -> None:
        self.epsilon, self.rng = epsilon, rng
        self.statistics = WStatistics.load()
        if rng is None:
            self.rng = torch.Generator()
            self.rng.seed()

    @property
    def facts(self) -> Facts:
        """What it is."""
        return Facts(
            f"IdentityDP-like, eps {self.epsilon:g}",
            "Wen, Liu, Ding, Xie and Song: IdentityDP: differential private "
            "identification protection for face images. Neurocomputing 2022",
            2022,
            "wen2022identitydp",
            "Noise on an identity vector, calibrated as differential privacy asks.",
            (
                (
                    "identity",
                    "an ArcFace vector of 512",
                    "mean of whitened rows 3 to 8",
                ),
                ("noise", "Laplace on each number", "the same, then a fixed radius"),
                ("picture", "by a network from both vectors", "the edited code"),
                ("ε", "its authors' choice", "2, 8 and 32 for each number"),
            ),
        )

    def _noisy(self, z: Tensor) -> Tensor:
        vector = z.mean(1, keepdim=True)
        shape = vector.shape
        uniform = torch.rand(shape, generator=self.rng, dtype=torch.float64) - 0.5
        scale = 2 * LIMIT / self.epsilon
        laplace = -scale * uniform.sign() * torch.log1p(-2 * uniform.abs())
        noisy = vector.clamp(-LIMIT, LIMIT) + laplace.to(z)
        noisy = noisy * (RADIUS / noisy.square().mean(-1, keepdim=True).sqrt())
        return z + (noisy - vector)

    def __call__(self, ws: Tensor, code: Tensor) -> Tensor:
        """Add noise; ``code`` is not looked at."""
        return edit_whitened(ws, FACE_ROWS, self.statistics, self._noisy)


class LiLike:
    """Apparent gender, age and colour of the skin move to their other side.

    Along the measured direction of each attribute (``training.directions``) a code has
    a coordinate c. It becomes -max(|c|, FAR) sign(c): the further a person stands to
    one side, the further the shift, which is what is adaptive here.
    """

    num_bits = NUM_BITS
    decrypt: Edit | None = None
    facts = Facts(
        "Li-like",
        "Li, Han, Chen, Zhang, Han, Wang and Cao: Identity-preserving face "
        "anonymization via adaptively facial attributes obfuscation. ACM MM 2021",
        2021,
        "li2021obfuscation",
        "Change the attributes by which a face is known, and leave the rest.",
        (
            ("attributes", "chosen for each person", "the same three for all"),
            ("change", "a network that edits attributes", "shifts along directions"),
            ("place", "regions of the picture, found by a network", "rows 3 to 10"),
            ("aim", "by its title, identity is preserved", "judged like the others"),
        ),
    )

    def __init__(self) -> None:
        self.statistics = WStatistics.load()
        self.directions = kept_directions(KEPT)[:, POSES:]  # (512, 3), orthonormal

    def _shifted(self, z: Tensor) -> Tensor:
        directions = self.directions.to(z)
        along = z.mean(1, keepdim=True) @ directions
        side = torch.where(along < 0, -1.0, 1.0).to(z)
        target = -side * along.abs().clamp_min(FAR)
        return z + (target - along) @ directions.T

    def __call__(self, ws: Tensor, code: Tensor) -> Tensor:
        """Shift the attributes; ``code`` is not looked at."""
        return edit_whitened(ws, LAYERS, self.statistics, self._shifted)
