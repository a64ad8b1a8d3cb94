"""Statistics of w: mean, principal axes, whitening; and a basis across rows."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors.torch import load_file, save
from torch import Tensor

from facersa.errors import AssetError
from facersa.files import write_atomic
from facersa.generator.mobile_stylegan import Generator
from facersa.ops import check_shape


def cosine_basis(rows: int) -> Tensor:
    """Orthonormal DCT-II, (rows, rows) float64; row 0 is constant."""
    place = (torch.arange(rows, dtype=torch.float64) + 0.5) * math.pi / rows
    basis = torch.cos(torch.arange(rows, dtype=torch.float64)[:, None] * place)
    basis[0] /= 2**0.5
    return basis * (2 / rows) ** 0.5


AXES = 512  # principal axes of w in which training sees a code: all there are


def whitening(statistics: WStatistics, device: torch.device) -> tuple[Tensor, Tensor]:
    """Mean (512,) and matrix (512, AXES): (w - mean) @ matrix has unit variance.

    Also the axes along which people hardly differ count: steps along them change a
    picture too, and what training does not see it does not hold back.
    """
    axes = statistics.whitener(AXES)
    return statistics.mean.float().to(device), axes.float().to(device)


@dataclass(frozen=True)
class WStatistics:
    """Mean and principal axes of w, float64.

    mean: (D,); eigenvalues: (D,) positive, descending; eigenvectors: (D, D),
    one axis a column.
    """

    mean: Tensor
    eigenvalues: Tensor
    eigenvectors: Tensor

    def __post_init__(self) -> None:
        size = self.mean.numel()
        check_shape(self.mean, size, name="mean")
        check_shape(self.eigenvalues, size, name="eigenvalues")
        check_shape(self.eigenvectors, size, size, name="eigenvectors")
        for name in ("mean", "eigenvalues", "eigenvectors"):
            object.__setattr__(self, name, getattr(self, name).detach().double())
        values = self.eigenvalues
        if not (values > 0).all() or (values.diff() > 0).any():
            raise ValueError(
                "eigenvalues must be positive and descending, got "
                f"{values.min():.2g} to {values.max():.2g}; estimate them on more "
                "samples than dimensions."
            )

    @classmethod
    def load(cls) -> WStatistics:
        """Read the statistics that ship with the package (truncation psi = 1).

        Truncation with one psi scales z as a whole, so they serve every psi.

        Raises:
            AssetError: the file is missing.
        """
        path = Path(__file__).parents[1] / "weights" / "w_stats.safetensors"
        if not path.is_file():
            raise AssetError(
                "weights/w_stats.safetensors is missing from the package; "
                "install facersa again."
            )
        stored = load_file(path)
        return cls(stored["mean"], stored["eigenvalues"], stored["eigenvectors"])

    @classmethod
    def estimate(cls, draw: Callable[[int], Tensor], samples: int) -> WStatistics:
        """Estimate from samples that come in parts.

        Args:
            draw: the next so many samples (count, D).
            samples: how many in all, well above D.
        """
        part, count = 8192, 0
        total = square = torch.zeros((), dtype=torch.float64)
        while count < samples:
            w = draw(min(part, samples - count)).double()
            total, square = total + w.sum(0), square + w.T @ w
            count += len(w)
        mean = total / count
        covariance = square / count - mean[:, None] * mean
        values, vectors = torch.linalg.eigh(covariance)
        return cls(mean, values.flip(0), vectors.flip(1))

    @classmethod
    def of_generator(
        cls, generator: Generator, samples: int = 2**18, seed: int = 0
    ) -> WStatistics:
        """Statistics of a generator's codes; the shipped file was made like this."""
        rng = torch.Generator().manual_seed(seed)

        def draw(count: int) -> Tensor:
            z = torch.randn(count, generator.w_dim, generator=rng)
            with torch.no_grad():
                return generator.map(z.to(generator.w_avg.device)).cpu()

        return cls.estimate(draw, samples)

    def save(self, path: str | Path) -> None:
        """Write the statistics as float32 safetensors, atomically."""
        parts = ("mean", "eigenvalues", "eigenvectors")
        tensors = {name: getattr(self, name).float().contiguous() for name in parts}
        write_atomic(path, save(tensors))

    def fingerprint(self) -> str:
        """16 hex digits that tell one set of statistics from another."""
        parts = (self.mean, self.eigenvalues, self.eigenvectors)
        data = b"".join(part.float().numpy().tobytes() for part in parts)
        return hashlib.sha256(data).hexdigest()[:16]

    def whitener(self, axes: int | None = None) -> Tensor:
        """(D, axes), float64: (w - mean) @ this is z along the leading ``axes``."""
        return self.eigenvectors[:, :axes] / self.eigenvalues[:axes].sqrt()

    def colourer(self, axes: int | None = None) -> Tensor:
        """(axes, D), float64: mean + z @ this is the w of z along ``axes``."""
        scaled = self.eigenvectors[:, :axes] * self.eigenvalues[:axes].sqrt()
        return scaled.T.contiguous()

    def whiten(self, w: Tensor) -> Tensor:
        """(..., D) in w to standard coordinates z, float64."""
        return (w.double() - self.mean) @ self.eigenvectors / self.eigenvalues.sqrt()

    def unwhiten(self, z: Tensor) -> Tensor:
        """The inverse of ``whiten``, float64."""
        return self.mean + (z.double() * self.eigenvalues.sqrt()) @ self.eigenvectors.T
