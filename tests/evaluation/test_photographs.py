"""Whole photographs, encrypted and decrypted, and what is measured of them."""

from __future__ import annotations

import pytest
import torch

from facersa.errors import ImageError
from facersa.evaluation.photographs import _group, colour_edge, on_photographs
from facersa.evaluation.results import Row, value
from facersa.generator.base import Generator
from facersa.inversion.search import project_config
from facersa.photo.images import to_levels
from facersa.pipeline import FaceRSA


@pytest.mark.slow
def test_a_photograph_and_a_generated_one(
    generator: Generator, astronaut: torch.Tensor
) -> None:
    person = generator.synthesize(generator.sample([7], 0.7)).clamp(-1, 1)
    photos = [to_levels(astronaut), to_levels(person)]
    engine = FaceRSA(generator)
    result = on_photographs(engine, photos, config=project_config(0), progress=False)
    assert result["settings"] | {"steps": 0} == result["settings"]
    assert result["settings"]["faces"] == 2 and result["settings"]["refused"] == 0
    for judge in ("train", "heldout"):
        hidden = value(result, "all", "photo~Ie", "id", judge)
        back = value(result, "all", "photo~Ie,d", "id", judge)
        assert hidden.n == back.n == 2
        assert hidden.mean + 0.2 < back.mean
    assert value(result, "all", "Ie", "detected").mean == 1
    assert 0 < value(result, "all", "photo~Ie", "outside").mean < 1.5
    assert value(result, "all", "photo~Ie", "yaw", "train").mean < 10
    # A generated person's yaw and width put it into groups of its own or shared ones.
    groups = {Row(**row).property for row in result["rows"]}
    counts = [
        value(result, group, "photo~Ie", "lpips").n
        for group in groups
        if group.startswith("width")
    ]
    assert sum(counts) == 2


def test_pictures_without_a_face_are_refused(generator: Generator) -> None:
    grey = torch.full((1, 3, 200, 200), 128, dtype=torch.uint8)
    with pytest.raises(ImageError, match="none of these"):
        on_photographs(FaceRSA(generator), [grey], progress=False)


def test_a_colour_edge_is_one_of_face_and_neck() -> None:
    oval = (128, 128, 60, 60, 80, 60)
    picture = torch.zeros(1, 3, 128, 128)
    assert colour_edge(picture, oval) < 1e-9
    picture[:, :, 95:] = 0.3  # below the oval, which ends at row 94
    light = colour_edge(picture, oval)
    assert light > 5
    picture[:, :, 95:] = 0.6
    assert colour_edge(picture, oval) > light


def test_groups_have_names() -> None:
    names = [_group("yaw", x, (15, 30)) for x in (3, 15, 29, 30, float("nan"))]
    assert names == [
        "yaw below 15",
        "yaw 15 to 30",
        "yaw 15 to 30",
        "yaw above 30",
        "yaw unknown",
    ]
