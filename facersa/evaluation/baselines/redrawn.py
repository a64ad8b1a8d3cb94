"""DeepPrivacy-like and CIAGAN-like: the face is drawn anew, and the old one is gone.

The rows that hold identity are another person's. Nothing of the edited rows is left,
so nobody, with whatever key, brings them back. The rows that stay are all that the new
face has in common with the old one, as hair, pose and background are in the originals.
"""

from __future__ import annotations

import torch
from torch import Tensor

from facersa.cipher.base import check_code
from facersa.evaluation.baselines.base import (
    FACE_ROWS,
    NUM_BITS,
    Edit,
    Facts,
    replace_rows,
)
from facersa.generator.base import Generator

BANK = range(9_000, 9_256)  # seeds of the identities that a password chooses from
PSI = 0.7  # of new faces


class DeepPrivacyLike:
    """Rows of a stranger who is drawn at each call.

    Args:
        generator: of the strangers.
        rng: draws them; by default they are seeded by nothing, and no second call
            gives the same face. Tables pass one, to be repeatable.
    """

    num_bits = NUM_BITS
    decrypt: Edit | None = None
    facts = Facts(
        "DeepPrivacy-like",
        "Hukkelås, Mester and Lindseth: DeepPrivacy: a generative adversarial network "
        "for face anonymization. ISVC 2019",
        2019,
        "hukkelas2019deepprivacy",
        "The face is cut out and drawn anew.",
        (
            ("what stays", "the picture around the face, seven keypoints", "10 rows"),
            ("new face", "by a conditional GAN", "rows 3 to 8 of a random stranger"),
            ("training", "FDF, 1.5 million faces", "none"),
            ("size", "128 x 128", "1024 x 1024"),
        ),
    )

    def __init__(
        self, generator: Generator, rng: torch.Generator | None = None
    ) -> None:
        self.generator, self.rng = generator, rng
        if rng is None:
            self.rng = torch.Generator()
            self.rng.seed()

    @torch.no_grad()
    def __call__(self, ws: Tensor, code: Tensor) -> Tensor:
        """Redraw the face; ``code`` is not looked at."""
        z = torch.randn(len(ws), self.generator.w_dim, generator=self.rng)
        w = self.generator.truncate(self.generator.map(z.to(self.generator.w_avg)), PSI)
        return replace_rows(ws, FACE_ROWS, self.generator.broadcast(w))


class CiaganLike:
    """Rows of the one of 256 people whom the password's first byte names.

    Args:
        generator: of the people.
    """

    num_bits = NUM_BITS
    decrypt: Edit | None = None
    facts = Facts(
        "CIAGAN-like",
        "Maximov, Elezi and Leal-Taixé: CIAGAN: conditional identity anonymization "
        "generative adversarial networks. CVPR 2020",
        2020,
        "maximov2020ciagan",
        "The face is drawn anew, steered towards an identity from a list.",
        (
            ("what stays", "the picture around the face, landmarks", "10 rows"),
            ("identities", "a list from CelebA, one-hot", "256 generated people"),
            ("new face", "a mixture with the identity", "rows 3 to 8 of that identity"),
            ("training", "CelebA", "none"),
        ),
    )

    def __init__(self, generator: Generator) -> None:
        self.generator = generator

    def identity(self, code: Tensor) -> int:
        """Number in the list, of a code (N,): its first eight bits."""
        bits = (code[:8] > 0).long()
        return int((bits * 2 ** torch.arange(8)).sum())

    def __call__(self, ws: Tensor, code: Tensor) -> Tensor:
        """Redraw the face as the identity that ``code`` names."""
        codes = check_code(code, ws, self.num_bits).cpu()
        seeds = [BANK[self.identity(one)] for one in codes]
        return replace_rows(ws, FACE_ROWS, self.generator.sample(seeds, PSI))
