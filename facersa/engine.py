"""What the pipeline works with, and its way from a photograph to a code."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from facersa.cipher.base import Cipher
from facersa.cipher.catalogue import DEFAULT, load_cipher
from facersa.cipher.description import restore
from facersa.errors import FaceRSAError, SealedError
from facersa.generator.base import Generator
from facersa.generator.load import load_generator
from facersa.generator.mobile_stylegan import MobileStyleGAN
from facersa.generator.statistics import WStatistics
from facersa.inversion.e4e import E4EEncoder
from facersa.inversion.inverter import Inverter
from facersa.inversion.kept import KeptInversions
from facersa.inversion.search import ProjectConfig
from facersa.judges.bisenet import BiSeNet
from facersa.judges.look import load_look
from facersa.judges.networks import load_identity
from facersa.painting import FacePainter, Fitters
from facersa.photo.align import PhotoFace, choose, find_squares
from facersa.photo.blazeface import BlazeFace, load_blazeface
from facersa.photo.faces import HeldOutFaces, load_held_out_faces
from facersa.photo.square import Aligned, crop
from facersa.sealing.compact import CompactCode
from facersa.sealing.prior import NormalPrior
from facersa.sealing.sealed import Prior, Sealed


@dataclass(frozen=True)
class Inversion:
    """A photograph, the face in it, and the code that paints the face.

    Attributes:
        photo: (1, 3, H, W), uint8 or in [-1, 1].
        aligned: the crop and where it lies in the photograph.
        ws: (1, rows, 512) code.
    """

    photo: Tensor
    aligned: Aligned
    ws: Tensor


class Engine:
    """The networks that find, paint and judge faces, and the cipher between them.

    Args:
        generator: the frozen generator; the shipped one by default. Another one has
            statistics of its own, and its pictures hold no code in their pixels.
        encoder: of this generator, as ``load_backend`` gives it.
        bisenet: a parsing network of the user's, which tells where a painted face
            shows background; without one the features of the shipped generator do.
            Decrypt with what encrypted, or the edge of the face may show.
        cipher: a name of ``cipher.catalogue.CATALOGUE``.
        weights: a file of a learned cipher's weights; the shipped ones by default.
        layers: rows of W+ that an exact cipher edits, 0-based.
        kappa: an exact cipher's push away from the person; None for its default.

    Raises:
        FaceRSAError: settings that make no sense, or missing weights.
    """

    def __init__(
        self,
        generator: Generator | None = None,
        *,
        encoder: E4EEncoder | None = None,
        bisenet: BiSeNet | None = None,
        cipher: str = DEFAULT,
        weights: str | Path | None = None,
        layers: Sequence[int] | None = None,
        kappa: float | None = None,
    ) -> None:
        self.generator = generator if generator is not None else load_generator()
        self.painter = FacePainter(self.generator, bisenet)
        self.renderer = self.painter.renderer
        self.statistics = WStatistics.of(self.generator)
        self._encoder = encoder
        self._options = {"layers": layers, "kappa": kappa, "weights": weights}
        self._default = self._load(cipher, None)
        self._prior = NormalPrior.of_rows(self.generator.num_ws)
        self._table: CompactCode | None = None
        if isinstance(self.generator, MobileStyleGAN):
            self._table = CompactCode.load()

    @property
    def default_bits(self) -> int:
        """Length of codes made from typed passwords, unless another is asked for."""
        return self._default.num_bits

    def cipher(self, num_bits: int | None = None) -> Cipher:
        """The cipher for codes of ``num_bits``, with the errors of ``load_cipher``."""
        if num_bits in (None, self._default.num_bits):
            return self._default
        return self._load(self._default.name, num_bits)

    def _load(self, name: str, num_bits: int | None) -> Cipher:
        options: dict[str, Any] = self._options
        cipher = load_cipher(
            name, num_bits=num_bits, statistics=self.statistics, **options
        )
        if max(cipher.layers) >= self.generator.num_ws:
            raise FaceRSAError(
                f"rows go from 0 to {self.generator.num_ws - 1}, got {cipher.layers}."
            )
        return cipher

    @cached_property
    def faces(self) -> HeldOutFaces:
        """The detector that aligns photographs, loaded when first needed."""
        return load_held_out_faces()

    @cached_property
    def second(self) -> BlazeFace:
        """The detector of faces that the first one overlooks."""
        return load_blazeface()

    @cached_property
    def fitters(self) -> Fitters:
        """What tells how well a painted face fits into a photograph."""
        return Fitters(self.faces, load_look(), load_identity())

    @cached_property
    def inverter(self) -> Inverter:
        """The encoder and the judges that find codes, loaded when first needed."""
        return Inverter(self.generator, self._encoder)

    def find_faces(
        self, photo: Tensor, known: Sequence[np.ndarray] = ()
    ) -> list[PhotoFace]:
        """The faces of a photograph (1, 3, H, W) in the order of their numbers.

        ``known`` squares (4, 2) need not be searched for: an encrypted picture has
        them in ``EncryptedPicture.squares``.
        """
        return find_squares(photo, self.faces, known, self.second)

    def invert(
        self,
        photo: Tensor,
        *,
        face: int | None = None,
        found: Sequence[PhotoFace] | None = None,
        config: ProjectConfig | None = None,
        in_pixels: bool = True,
        keep: KeptInversions | None = None,
        progress: bool = True,
    ) -> Inversion:
        """Find the face in a photograph and the code that paints it.

        Args:
            photo: (1, 3, H, W), uint8 or in [-1, 1].
            face: which face, from the left, 0-based; needed if there are several.
            found: the faces in it, as ``find_faces`` gives them, where they have been
                looked for already.
            config: of the search from the encoder's guess; 0 steps leave the guess.
            in_pixels: find a code that the pixels can hold, see ``encrypt``; otherwise
                one that only a chunk can, a little closer to the photograph.
            keep: where a code that was found before is taken from, and a new one put.
            progress: show a bar.

        Raises:
            ImageError: no face, several faces and no choice, or one that is too small,
                turned away or covered.
        """
        squares = self.find_faces(photo) if found is None else found
        chosen = choose(squares, face)
        aligned = crop(photo, chosen.quad).beside([other.quad for other in squares])
        aligned = replace(aligned, oval=chosen.oval, tone=True)
        prior, config = self._prior_of(in_pixels), config or ProjectConfig()
        shape = (1, self.generator.num_ws, self.generator.w_dim)
        how = f"{config} {prior.to_dict()} {self.statistics.fingerprint()}"
        key = keep.key(aligned.image, how) if keep else ""
        ws = keep.get(key, shape) if keep else None
        if ws is None:
            ws = self.inverter.find(
                aligned.image,
                config=config,
                # As a sealed file will hold it, so that the file gives exactly this.
                rounded=lambda ws: prior.quantise(ws.cpu(), self.statistics).to(ws),
                progress=progress,
            )
            if keep:
                keep.add(key, ws)
        return Inversion(photo, aligned, ws)

    def _prior_of(self, in_pixels: bool) -> Prior:
        return self._table if in_pixels and self._table else self._prior

    def _cipher_of(self, sealed: Sealed) -> Cipher:
        if sealed.shape != (self.generator.num_ws, self.generator.w_dim):
            raise SealedError(
                f"this file holds a code of shape {sealed.shape}, which this generator "
                "does not paint; use the one that made it, or upgrade facersa."
            )
        return restore(
            sealed.params,
            self.generator.num_ws,
            loaded=self._default,
            statistics=self.statistics,
        )
