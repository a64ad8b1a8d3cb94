"""Tests of how well a painted face fits into its photograph."""

from __future__ import annotations

import pytest
import torch

from facersa.generator.base import Generator
from facersa.judges.calibration import calibration
from facersa.judges.look import Look, load_look
from facersa.judges.networks import load_identity
from facersa.painting import (
    GOOD_POSE,
    SAME_POSE,
    STRANGERS,
    FacePainter,
    Fit,
    Fitters,
    moved,
    painted_oval,
    reachable,
    unlike,
)
from facersa.photo.align import align, find_squares
from facersa.photo.faces import HeldOutFaces, load_held_out_faces


@pytest.fixture(scope="module")
def faces() -> HeldOutFaces:
    return load_held_out_faces()


@pytest.fixture(scope="module")
def fitters(faces: HeldOutFaces) -> Fitters:
    return Fitters(faces, load_look(), load_identity())


def look(male: float, age: float) -> Look:
    return Look(torch.tensor([male]), torch.tensor([age]))


def test_people_look_alike_by_gender_and_age() -> None:
    assert unlike(look(2, 30), look(0.1, 30)) == 0
    assert 0 < unlike(look(2, 30), look(2, 38)) < 1 < unlike(look(2, 30), look(2, 60))
    assert unlike(look(2, 30), look(-2, 30)) > unlike(look(2, 30), look(2, 50))


def test_an_oval_knows_its_pose(astronaut: torch.Tensor, faces: HeldOutFaces) -> None:
    face, *_ = find_squares(astronaut, faces)
    aligned = align(astronaut, 256, faces=faces).image
    assert moved(aligned, face.oval, faces) <= 4  # of rounding and of the smaller copy
    assert moved(aligned.roll(24, 3), face.oval, faces) > SAME_POSE


def test_an_oval_comes_as_near_as_the_painted_face_allows(
    astronaut: torch.Tensor, faces: HeldOutFaces
) -> None:
    face, *_ = find_squares(astronaut, faces)
    aligned = align(astronaut, 256, faces=faces).image
    own = painted_oval(aligned, faces)
    assert reachable(own, own) == own
    far = tuple(part + sign * 50 for part, sign in zip(own, [1, -1] * 3, strict=True))
    near = reachable(far, own)
    assert 0 < moved(aligned, near, faces) < SAME_POSE < moved(aligned, far, faces)
    # What is near enough already stays.
    assert reachable(face.oval, own) == face.oval


def test_a_face_fits_itself_and_not_anybody(
    generator: Generator, fitters: Fitters
) -> None:
    painter = FacePainter(generator)
    people = [painter.small(generator.sample([k], 0.7)) for k in range(6)]
    with torch.no_grad():
        looks = [fitters.look.look(person) for person in people]
    ovals = [find_squares(person, fitters.faces)[0].oval for person in people]
    misfits = torch.tensor(
        [
            [Fit(oval, seen).misfit(person, fitters) for person in people]
            for oval, seen in zip(ovals, looks, strict=True)
        ]
    )
    assert misfits.diagonal().max() <= 4 / GOOD_POSE
    others = misfits[~torch.eye(len(people), dtype=torch.bool)]
    assert others.min() > misfits.diagonal().max() and others.max() > 2


def test_what_does_not_matter_is_not_looked_at(
    generator: Generator, fitters: Fitters
) -> None:
    person = FacePainter(generator).small(generator.sample([0], 0.7))
    assert Fit().misfit(person, fitters) == 0


def test_strangers_are_those_of_the_calibration() -> None:
    measured = calibration("train", "W", 1.0)
    assert pytest.approx((measured.s0, measured.spread), abs=5e-4) == STRANGERS


def test_whoever_is_recognised_does_not_fit(
    generator: Generator, fitters: Fitters
) -> None:
    """The person does not, somebody with other rows 5 to 8 hardly, a stranger does."""
    painter = FacePainter(generator)
    person, stranger = generator.sample([0], 0.85), generator.sample([1], 0.85)
    sibling = person.clone()
    sibling[:, 5:9] = stranger[:, 5:9]
    with torch.no_grad():
        known = fitters.identity.embed(painter.small(person))
    fit = Fit(person=known)
    same, alike, other = (
        fit.misfit(painter.small(ws), fitters) for ws in (person, sibling, stranger)
    )
    assert same > 5 and same > alike > other and other <= 1
