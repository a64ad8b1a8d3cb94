"""Statistics of w: mean, principal axes, whitening; and a basis across rows."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import Tensor
from tqdm import tqdm

from facersa.assets.registry import cache_folder
from facersa.errors import AssetError
from facersa.files import write_atomic
from facersa.generator.base import Generator
from facersa.ops import check_shape

AXES = 512  # principal axes of w in which training sees a code: all there are
PART = 8192  # codes drawn at once
SAMPLES_PER_ENTRY = 512  # of w: 2^18 codes where w has 512 entries
SHIPPED = Path(__file__).parents[1] / "weights" / "w_stats.safetensors"


def cosine_basis(rows: int) -> Tensor:
    """Orthonormal DCT-II, (rows, rows) float64; row 0 is constant."""
    place = (torch.arange(rows, dtype=torch.float64) + 0.5) * math.pi / rows
    basis = torch.cos(torch.arange(rows, dtype=torch.float64)[:, None] * place)
    basis[0] /= 2**0.5
    return basis * (2 / rows) ** 0.5


def whitening(statistics: WStatistics, device: torch.device) -> tuple[Tensor, Tensor]:
    """Mean (D,) and matrix (D, AXES), float32: (w - mean) @ matrix has unit variance.

    All axes count, also those along which people hardly differ: steps along them
    change a picture too, and training only limits what it measures.
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
        for name, value in self.tensors().items():
            object.__setattr__(self, name, value.detach().double())
        values = self.eigenvalues
        if not (values > 0).all() or (values.diff() > 0).any():
            raise ValueError(
                "eigenvalues must be positive and descending, got "
                f"{values.min():.2g} to {values.max():.2g}; estimate them on more "
                "samples than dimensions."
            )

    @classmethod
    def load(cls, path: str | Path = SHIPPED) -> WStatistics:
        """Read a file of ``save``: the one that ships with the package, or another.

        Raises:
            AssetError: the file is missing or damaged.
        """
        try:
            return cls(**load_file(path))
        except (OSError, TypeError, ValueError, SafetensorError) as error:
            cure = "install facersa again" if path == SHIPPED else "delete this file"
            raise AssetError(
                f"{path} does not hold statistics of w ({error}); {cure}."
            ) from error

    @classmethod
    def of(cls, generator: Generator, *, progress: bool = True) -> WStatistics:
        """Statistics of a generator's codes (truncation psi = 1).

        Truncation with one psi scales z as a whole, so they serve every psi. Those of
        MobileStyleGAN ship with the package. Those of another generator are measured
        once, which takes half a minute for w of 512 entries, and are kept in the cache
        folder under a fingerprint of the mapping's weights. Measured on another
        machine they may differ in the last digits: a file encrypted with them needs
        the same file of statistics to be decrypted.

        Raises:
            AssetError: the cached file is damaged, or the cache cannot be written.
        """
        shipped = cls.load()
        if torch.equal(generator.w_avg.cpu(), shipped.mean.float()):
            return shipped
        digest = hashlib.sha256()
        for name, value in generator.mapping.state_dict().items():
            digest.update(f"{name} {tuple(value.shape)} ".encode())
            digest.update(value.float().cpu().numpy().tobytes())
        path = cache_folder() / f"w_stats-{digest.hexdigest()[:16]}.safetensors"
        if not path.exists():
            try:
                path.parent.mkdir(parents=True, exist_ok=True)
            except OSError as error:
                raise AssetError(
                    f"cannot create {path.parent} ({error.strerror}); set "
                    "FACERSA_CACHE to another folder."
                ) from error
            cls.measure(generator, progress=progress).save(path)
        return cls.load(path)

    @classmethod
    def measure(
        cls,
        generator: Generator,
        samples: int | None = None,
        seed: int = 0,
        *,
        progress: bool = False,
    ) -> WStatistics:
        """Measure the codes of random z; the shipped file was made like this.

        Args:
            generator: whose ``map`` is measured.
            samples: number of codes; 512 for each entry of w by default.
            seed: of the random z.
            progress: show a bar.
        """
        rng = torch.Generator().manual_seed(seed)
        samples = samples or SAMPLES_PER_ENTRY * generator.w_dim

        def draw(count: int) -> Tensor:
            z = torch.randn(count, generator.w_dim, generator=rng)
            with torch.no_grad():
                return generator.map(z.to(generator.w_avg.device)).cpu()

        return cls.estimate(draw, samples, progress=progress)

    @classmethod
    def estimate(
        cls, draw: Callable[[int], Tensor], samples: int, *, progress: bool = False
    ) -> WStatistics:
        """Estimate from samples that come in parts.

        Args:
            draw: the next so many samples (count, D).
            samples: how many in all, well above D.
            progress: show a bar.
        """
        total = square = torch.zeros((), dtype=torch.float64)
        starts = range(0, samples, PART)
        for start in tqdm(starts, desc="statistics of w", disable=not progress):
            w = draw(min(PART, samples - start)).double()
            total, square = total + w.sum(0), square + w.T @ w
        mean = total / samples
        covariance = square / samples - mean[:, None] * mean
        values, vectors = torch.linalg.eigh(covariance)
        return cls(mean, values.flip(0), vectors.flip(1))

    def tensors(self) -> dict[str, Tensor]:
        """Mean, eigenvalues and eigenvectors by name."""
        return {
            "mean": self.mean,
            "eigenvalues": self.eigenvalues,
            "eigenvectors": self.eigenvectors,
        }

    def to(self, device: str | torch.device) -> WStatistics:
        """The same on another device."""
        return WStatistics(**{k: v.to(device) for k, v in self.tensors().items()})

    def save(self, path: str | Path) -> None:
        """Write the statistics as float32 safetensors, atomically."""
        stored = {k: v.float().contiguous().cpu() for k, v in self.tensors().items()}
        write_atomic(path, save(stored))

    def fingerprint(self) -> str:
        """16 hex digits of the statistics' values."""
        parts = self.tensors().values()
        data = b"".join(part.float().cpu().numpy().tobytes() for part in parts)
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
