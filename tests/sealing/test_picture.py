"""Several encrypted faces in one picture: each with its password, none in the way."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from facersa.cipher.typed import Secrets
from facersa.engine import Inversion
from facersa.errors import ImageError, SealedError
from facersa.generator.base import Generator
from facersa.inversion.search import project_config
from facersa.judges.metrics import psnr
from facersa.photo.images import decode_image, jpeg_bytes, png_bytes, resize, to_levels
from facersa.pipeline import Encrypted, FaceRSA
from facersa.sealing.chunk import pack, seal, unseal, unseal_all
from facersa.sealing.picture import EncryptedPicture, carries_code
from facersa.sealing.pixels import find

pytestmark = pytest.mark.usefixtures("one_salt")

A, B = Secrets(("apple",)), Secrets(("banana",))
SECRETS = (A, B)
WIDTH = 352  # of each half of the picture
LEFT, RIGHT = (..., slice(0, WIDTH)), (..., slice(WIDTH, 2 * WIDTH))
MIDDLE = (..., slice(180, 400), slice(100, 250))  # of the face in a half


@pytest.fixture(scope="module")
def engine(generator: Generator) -> FaceRSA:
    return FaceRSA(generator)


@pytest.fixture(scope="module")
def pair(engine: FaceRSA) -> torch.Tensor:
    """Two people so near each other that their squares overlap by a third."""
    people = engine.generator.sample([3, 6], 0.6).split(1)
    halves = [resize(engine.renderer.full(ws), 512)[..., 80:432] for ws in people]
    return decode_image(png_bytes(torch.cat(halves, dim=3)))


@pytest.fixture(scope="module")
def people(engine: FaceRSA, pair: torch.Tensor) -> list[Inversion]:
    """Two steps only: these tests are about the way, not the likeness."""
    config = project_config(2)
    return [
        engine.invert(pair, face=face, config=config, progress=False) for face in (0, 1)
    ]


def encrypt_both(
    engine: FaceRSA, people: list[Inversion], first: int = 0, **how: Any
) -> Encrypted:
    """The face ``first`` and then the other, with a password each."""
    one = engine.encrypt(people[first], SECRETS[first], **how)
    second = 1 - first
    return engine.encrypt(people[second], SECRETS[second], beside=one.picture, **how)


@pytest.fixture(scope="module")
def bare(engine: FaceRSA, people: list[Inversion]) -> Encrypted:
    return encrypt_both(engine, people, in_pixels=False)


@pytest.fixture(scope="module")
def both(engine: FaceRSA, people: list[Inversion]) -> Encrypted:
    return encrypt_both(engine, people)


def shown(engine: FaceRSA, inversion: Inversion) -> torch.Tensor:
    return engine.renderer.full(inversion.ws)


def test_a_neighbour_left_alone_is_not_touched(
    engine: FaceRSA, people: list[Inversion], pair: torch.Tensor
) -> None:
    assert all(len(one.aligned.others) == 1 for one in people)
    image = engine.encrypt(people[0], A, in_pixels=False).image
    change = (decode_image(png_bytes(image)) - pair).abs()
    assert change[RIGHT][MIDDLE].max() == 0
    assert change[LEFT][MIDDLE].mean() > 0.05
    # The squares overlap, so what keeps the paste out is the border.
    alone = engine.encrypt(people[0], A, crop=True)
    assert "others" not in unseal(alone.data).geometry
    assert people[0].aligned.quad.max() > WIDTH + 50


def test_each_password_brings_its_own_face_back_in_either_order(
    engine: FaceRSA, people: list[Inversion], bare: Encrypted
) -> None:
    ends = []
    for first in (0, 1):
        second = 1 - first
        halfway = engine.decrypt(bare.data, SECRETS[first], face=first)
        assert psnr(halfway.face, shown(engine, people[first])).item() > 45
        half = (LEFT, RIGHT)[second]
        same = halfway.image[half][MIDDLE] == decode_image(bare.data)[half][MIDDLE]
        assert same.all()
        assert len(unseal_all(halfway.data)) == 1
        whole = engine.decrypt(halfway.data, SECRETS[second])
        assert psnr(whole.face, shown(engine, people[second])).item() > 45
        assert not carries_code(whole.data)
        ends.append(decode_image(whole.data))
    assert torch.equal(*ends)


def test_the_order_of_encryption_does_not_show(
    engine: FaceRSA, people: list[Inversion]
) -> None:
    files = [encrypt_both(engine, people, first, in_pixels=False) for first in (0, 1)]
    backs = []
    for file in files:
        halfway = engine.decrypt(file.data, A, face=0)
        backs.append(decode_image(engine.decrypt(halfway.data, B).data))
    # New salts, other faces: their faded edges are taken out, but for what their
    # texture, found again in the encrypted picture, is not quite as it was.
    assert psnr(*backs).item() > 50
    first, second = (to_levels(back[LEFT][MIDDLE]).int() for back in backs)
    assert (first - second).abs().max() <= 12


def test_a_face_is_encrypted_again_after_it_was_taken_out(
    engine: FaceRSA, people: list[Inversion], bare: Encrypted
) -> None:
    halfway = engine.decrypt(bare.data, A, face=0)
    again = engine.encrypt(people[0], B, beside=halfway.picture, in_pixels=False)
    for face in (1, 0):
        last = engine.decrypt(again.data, B, face=face)
        assert psnr(last.face, shown(engine, people[face])).item() > 45
        again = last


def test_several_faces_ask_for_a_choice(engine: FaceRSA, both: Encrypted) -> None:
    hint = r"2 encrypted face.*--face N, counted from the left \(0: x \d+-\d+"
    with pytest.raises(SealedError, match=hint):
        engine.decrypt(both.data, A)
    for wrong in (2, -1):
        with pytest.raises(SealedError, match=f"none has number {wrong}"):
            engine.decrypt(both.data, A, face=wrong)


def test_an_encrypted_face_is_not_encrypted_twice(
    engine: FaceRSA, people: list[Inversion], both: Encrypted
) -> None:
    with pytest.raises(SealedError, match="already: decrypt it first"):
        engine.encrypt(people[1], A, beside=both.picture)
    opened = engine.encrypt(people[1], A, mode="open")
    with pytest.raises(SealedError, match="already: add your password"):
        engine.encrypt(people[1], B, beside=opened.picture)
    with pytest.raises(ImageError, match="leave out crop"):
        engine.encrypt(people[0], A, beside=opened.picture, crop=True)
    cropped = engine.encrypt(people[0], A, crop=True)
    with pytest.raises(SealedError, match="already"):
        engine.encrypt(people[1], A, beside=cropped.picture)


def test_the_second_face_is_found_in_the_file_of_the_first(
    engine: FaceRSA, people: list[Inversion]
) -> None:
    first = engine.encrypt(people[0], A)
    picture = EncryptedPicture.read(first.data)
    known = picture.squares
    assert len(known) == 2
    found = engine.find_faces(picture.image, known)
    assert [picture.number_of(face.quad) for face in found] == [0, None]
    second = engine.invert(
        picture.image, face=1, found=found, config=project_config(1), progress=False
    )
    np.testing.assert_allclose(second.aligned.quad, people[1].aligned.quad, atol=0.01)
    added = engine.encrypt(second, B, beside=picture)
    back = engine.decrypt(added.picture, A, face=0)
    assert psnr(back.face, shown(engine, people[0])).item() > 45


def test_the_pixels_hold_the_first_face_that_was_encrypted(
    engine: FaceRSA, people: list[Inversion], both: Encrypted
) -> None:
    assert not both.in_pixels
    first, second = unseal_all(both.data)
    mark = find(both.image)
    assert (mark.payload, mark.salt) == (first.payload, first.salt)
    pressed = jpeg_bytes(both.image, quality=75)
    back = engine.decrypt(pressed, A, from_pixels=True)
    assert psnr(back.face, shown(engine, people[0])).item() > 45
    neighbour = decode_image(pressed)[RIGHT][MIDDLE]
    assert torch.equal(back.image[RIGHT][MIDDLE], neighbour)
    with pytest.raises(SealedError, match="none has number 1"):
        engine.decrypt(pressed, A, face=1, from_pixels=True)
    # When the first is out the mark is the second's, and nothing was lost.
    halfway = engine.decrypt(both.data, A, face=0)
    assert find(halfway.image).salt == second.salt
    kept = engine.decrypt(both.data, A, from_pixels=True)
    assert [one.salt for one in unseal_all(kept.data)] == [second.salt]


def test_a_face_without_chunk_and_mark_is_given_up_knowingly(
    engine: FaceRSA, people: list[Inversion]
) -> None:
    first = engine.encrypt(people[0], A)
    with pytest.raises(SealedError, match="one face only"):
        engine.encrypt(people[1], B, beside=first.picture, mode="none")
    with pytest.raises(SealedError, match="one face only"):
        EncryptedPicture(people[0].photo).check_mark(2)
    gone = engine.encrypt(
        people[1], B, beside=first.picture, mode="none", in_pixels=False
    )
    assert len(unseal_all(gone.data)) == 1
    assert find(gone.image).salt == unseal(first.data).salt


def test_open_files_take_and_lose_passwords_face_by_face(
    engine: FaceRSA, people: list[Inversion]
) -> None:
    data = encrypt_both(engine, people, mode="open").data
    with pytest.raises(SealedError, match="choose one"):
        engine.encrypt_again(data, B)
    data = engine.encrypt_again(data, B, face=0).data
    before = [one.code() for one in unseal_all(data)]
    taken = engine.decrypt(data, A, face=0)
    after = [one.code() for one in unseal_all(taken.data)]
    assert torch.equal(before[1], after[1]) and not torch.equal(before[0], after[0])
    last = engine.decrypt(taken.data, B, face=0)
    assert psnr(last.face, shown(engine, people[0])).item() > 45


def test_a_file_that_knew_no_neighbours_learns_of_a_new_one(
    engine: FaceRSA, people: list[Inversion]
) -> None:
    """As files of one face were, before they said who is near."""
    first = engine.encrypt(people[0], A, in_pixels=False)
    sealed = unseal(first.data)
    del sealed.geometry["others"]
    old = seal(first.image, sealed)
    assert torch.equal(engine.decrypt(old, A).ws, engine.decrypt(first.data, A).ws)
    added = engine.encrypt(
        people[1], B, beside=EncryptedPicture.read(old), in_pixels=False
    )
    back = engine.decrypt(added.data, A, face=0)
    half = decode_image(added.data)[RIGHT][MIDDLE]
    assert torch.equal(back.image[RIGHT][MIDDLE], half)


def test_numbers_count_from_the_left_whatever_the_order_in_the_file(
    engine: FaceRSA, people: list[Inversion]
) -> None:
    picture = encrypt_both(engine, people, first=1, in_pixels=False).picture
    assert [picture.pick(number) for number in picture.numbers] == [1, 0]
    assert picture.number_of(people[1].aligned.quad) == 1


def test_what_is_carried_is_what_the_file_says(both: Encrypted) -> None:
    """The object that encryption hands on and one parsed from its file are equal."""
    parsed = EncryptedPicture.read(both.data)
    packed = [[pack(face) for face in p.faces] for p in (parsed, both.picture)]
    assert packed[0] == packed[1]
    assert torch.equal(parsed.image, both.image)


def test_carries_code_of_other_files() -> None:
    assert not carries_code(b"text")
    assert not carries_code(png_bytes(torch.zeros(1, 3, 8, 8)))
    jpeg = io.BytesIO()
    Image.new("RGB", (8, 8)).save(jpeg, "JPEG")
    assert not carries_code(jpeg.getvalue())
