"""Cao-like and sign-flip-like: closed forms that a password undoes exactly.

Neither is trained. One turns a single identity vector, the other changes signs.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from facersa.evaluation.baselines.base import (
    FACE_ROWS,
    NUM_BITS,
    Facts,
    edit_whitened,
    password_bytes,
    password_normals,
)
from facersa.generator.statistics import WStatistics

ANGLE = math.radians(75)  # as the far turns of the original; at 90 all become one face


class CaoLike:
    """Turn the identity vector towards a vector that the password names.

    The vector v is the mean of the whitened rows, one for all of them. In the plane of
    v and the password's u it turns by ``ANGLE`` towards u, and back again. Passwords
    used one after the other are undone in reverse order; in another order the planes
    are different ones.
    """

    num_bits = NUM_BITS
    facts = Facts(
        "Cao-like",
        "Cao, Liu, Wen, Xie and Song: Personalized and invertible face "
        "de-identification by disentangled identity information manipulation. ICCV "
        "2021",
        2021,
        "cao2021personalized",
        "An identity vector is turned by a password and an angle; turning back undoes "
        "it.",
        (
            ("identity", "a network's vector of a picture", "mean of rows 3 to 8"),
            ("attributes", "a second network's", "how rows differ, and the other rows"),
            ("password", "a vector and an angle, the user's", "16 bits, angle 75°"),
            ("between steps", "a picture, encoded again", "the code itself: no loss"),
        ),
    )

    def __init__(self) -> None:
        self.statistics = WStatistics.load()

    def _turn(self, ws: Tensor, code: Tensor, angle: float) -> Tensor:
        named = password_normals(code, ws, self.num_bits, ws.shape[-1]).to(ws.device)

        def turn(z: Tensor) -> Tensor:
            vector = z.mean(1).double()
            size = vector.norm(dim=1, keepdim=True).clamp_min(1e-12)
            first = vector / size
            along = (named * first).sum(1, keepdim=True)
            second = F.normalize(named - along * first, dim=1)
            turned = size * (math.cos(angle) * first + math.sin(angle) * second)
            return z + (turned - vector)[:, None]

        return edit_whitened(ws, FACE_ROWS, self.statistics, turn)

    def __call__(self, ws: Tensor, code: Tensor) -> Tensor:
        """Turn towards the password's vector."""
        return self._turn(ws, code, ANGLE)

    def decrypt(self, ws: Tensor, code: Tensor) -> Tensor:
        """Turn away from it."""
        return self._turn(ws, code, -ANGLE)


class SignFlipLike:
    """Change the sign of that half of the whitened axes which the password names.

    All rows change alike: rows of one person resemble each other, and so do those of
    the person who comes out.

    Doing it again undoes it. Two passwords in any order make the product of their
    signs, so order never matters; but no password has that product, and the sum of the
    codes names other signs.
    """

    num_bits = NUM_BITS
    facts = Facts(
        "sign-flip-like",
        "Labarbarie, Itier and Puech: Secure and reversible face anonymization with "
        "diffusion models. arXiv 2510.01031, 2025",
        2025,
        "labarbarie2025secure",
        "A key decides which numbers of a normally distributed latent change sign.",
        (
            ("latent", "of a diffusion model, from an inversion", "rows 3 to 8"),
            ("normal by", "the diffusion's own noise", "whitening"),
            ("back from", "a picture, also from JPEG", "the code"),
            ("key", "a secret key", "16 bits, to compare with the paper"),
        ),
    )

    def __init__(self) -> None:
        self.statistics = WStatistics.load()

    def __call__(self, ws: Tensor, code: Tensor) -> Tensor:
        """Flip the signs."""
        data = password_bytes(code, ws, self.num_bits, ws.shape[-1])
        signs = 1.0 - 2.0 * torch.from_numpy((data & 1).astype("float64"))[:, None]
        return edit_whitened(ws, FACE_ROWS, self.statistics, lambda z: z * signs.to(z))

    def decrypt(self, ws: Tensor, code: Tensor) -> Tensor:
        """The same again."""
        return self(ws, code)
