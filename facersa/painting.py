"""A code painted as the face of a photograph, and how well that face fits in there."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from facersa.errors import SealedError
from facersa.generator.base import PREVIEW_SIDE, Generator
from facersa.generator.mobile_stylegan import MobileStyleGAN
from facersa.generator.openvino import Renderer
from facersa.generator.parts import BLOCKS as PARSED_BLOCKS
from facersa.generator.parts import load_parser
from facersa.judges.bisenet import BiSeNet
from facersa.judges.look import Look, LookJudge
from facersa.judges.networks import IdentityJudge
from facersa.photo.background import match_background
from facersa.photo.blend import fit_oval, harmonise
from facersa.photo.faces import ALIGNED_BOX, Box, HeldOutFaces
from facersa.photo.images import is_grey, resize, to_grey, to_uint8
from facersa.photo.square import Aligned
from facersa.photo.texture import match_texture

# 255ths of a side. The ovals of a photo and its inversion are nearer than the first; a
# face that has moved less than the last looks as if it had not moved. The one between
# leaves room for landmarks that another machine places a little differently.
SAME_POSE, SURE_POSE, GOOD_POSE = 16, 12, 8
LIKE_AGE = 12  # years between the apparent ages of two people who look alike in age
# Mean and deviation of strangers' cosines by the training judge, as it was calibrated
# at psi 1 (a test compares). The file itself is read with the held-out judges only.
STRANGERS = 0.080, 0.119
REMEMBERED = 4  # painted faces: a few are tried, and one of them is pasted


class FacePainter:
    """Paints codes as faces of photographs.

    Args:
        generator: whose codes they are.
        bisenet: tells background from face; without one the features of the shipped
            generator do, and for another generator nothing does.
    """

    def __init__(self, generator: Generator, bisenet: BiSeNet | None = None) -> None:
        self.generator, self._bisenet = generator, bisenet
        self.renderer = Renderer(generator)
        self._painted: list[tuple[Tensor, Tensor]] = []
        if isinstance(generator, MobileStyleGAN):
            self._parser = load_parser(generator.w_avg.device)

    @torch.no_grad()
    def paint(
        self, ws: Tensor, photo: Tensor, where: Aligned | None
    ) -> tuple[Tensor, Tensor]:
        """The face of a code, grey where the photo it belongs to is grey.

        And the same as it is pasted: in the light and the texture of the photo, or, as
        a whole head, its background in the colours of the photo's.

        Raises:
            SealedError: numbers so large that they paint nothing.
        """
        face = self._full(ws)
        if not face.isfinite().all():
            raise SealedError(
                "the numbers in this file paint no face: it is damaged or forged; get "
                "an intact copy."
            )
        face = to_grey(face) if is_grey(photo) else face
        if where is not None and where.oval:
            lit = harmonise(face, photo, where)
            return face, match_texture(lit, photo, where) if where.tone else lit
        background = None if where is None else self._background(ws, face)
        if where is None or background is None:
            return face, face
        return face, match_background(face, background.to(face), photo, where)

    def _background(self, ws: Tensor, face: Tensor) -> Tensor | None:
        """The share of background in a painted face, if something here can tell."""
        if self._bisenet is not None:
            return self._bisenet.background(face.to(self.generator.w_avg))
        if isinstance(self.generator, MobileStyleGAN):
            code = ws.to(self.generator.w_avg)
            features = self.generator.synthesis.features(code, PARSED_BLOCKS)
            return self._parser.background(features)
        return None

    def small(self, ws: Tensor) -> Tensor:
        """The face of a code as small as a preview: enough to see whether it fits."""
        return resize(self._full(ws), PREVIEW_SIDE)

    def _full(self, ws: Tensor) -> Tensor:
        code = ws.detach().to("cpu", copy=True)
        for known, face in self._painted:
            if torch.equal(known, code):
                return face
        face = self.renderer.full(ws)
        self._painted = [(code, face), *self._painted[: REMEMBERED - 1]]
        return face


@dataclass(frozen=True)
class Fitters:
    """What tells how well a face fits: landmarks, appearance, identity."""

    faces: HeldOutFaces
    look: LookJudge
    identity: IdentityJudge


@dataclass(frozen=True)
class Fit:
    """What a face should share with the photograph that it goes into, and what not.

    Attributes:
        oval: the one that is painted; empty if the pose does not matter.
        look: apparent gender and age of the person there; None if they do not matter.
        person: who is there, as the training judge embeds it, (1, D): not to be
            recognised by it.
    """

    oval: Sequence[int] = ()
    look: Look | None = None
    person: Tensor | None = None

    @torch.no_grad()
    def misfit(self, face: Tensor, by: Fitters) -> float:
        """How badly a face (1, 3, R, R) fits: at most 1 if nothing is noticed.

        Nothing is noticed of the person in a face whose cosine exceeds the mean of
        strangers by a standard deviation, or by less.
        """
        misfits = [0.0]
        if self.oval:
            misfits.append(moved(face, self.oval, by.faces) / GOOD_POSE)
        if self.look:
            misfits.append(unlike(by.look.look(face), self.look))
        if self.person is not None:
            cosine = float((by.identity.embed(face) * self.person).sum())
            misfits.append((cosine - STRANGERS[0]) / STRANGERS[1])
        return max(misfits)


def painted_oval(face: Tensor, faces: HeldOutFaces) -> tuple[int, ...]:
    """The oval in a painted face (1, 3, R, R), in 255ths of a side."""
    levels = np.ascontiguousarray(to_uint8(face)[0])
    size = len(levels)
    box: Box = tuple(edge * size for edge in ALIGNED_BOX)  # type: ignore[assignment]
    corners = np.array([[0.0, 0], [0, size], [size, size], [size, 0]])
    return fit_oval(faces.locate(levels, box) + 0.5, corners)


def moved(face: Tensor, oval: Sequence[int], faces: HeldOutFaces) -> float:
    """How far a face (1, 3, R, R) is from the pose that an oval is made for.

    In 255ths of a side: the largest difference of the two ovals' numbers, but for the
    reach up: it follows from the others, and earlier versions painted more forehead.
    """
    apart = np.abs(np.subtract(painted_oval(face, faces), oval))
    return float(np.delete(apart, 4).max())


def reachable(oval: Sequence[int], painted: Sequence[int]) -> tuple[int, ...]:
    """An oval as near to the photograph's as one can be that serves a painted face.

    Decryption paints the whole head where the face of the code has another pose than
    the oval. An inversion is not quite in the photograph's pose, mostly where the
    picture is cut close to the face, and has to stay in its oval.
    """
    least, most = np.subtract(painted, SURE_POSE), np.add(painted, SURE_POSE)
    return tuple(int(part) for part in np.clip(oval, least, most))


def unlike(one: Look, other: Look) -> float:
    """How different two people look: at most 1 if of one gender and of like age."""
    years = float((one.age - other.age).abs())
    genders = bool((one.male > 0) != (other.male > 0))
    return (3.0 if genders else 0.0) + years / LIKE_AGE
