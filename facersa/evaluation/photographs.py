"""What becomes of photographs: encrypted as ``encrypt`` does it, and decrypted again.

Generated people are easy. Here every face of every picture goes the whole way, from the
file to the file, and is judged where it stands in the picture.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from skimage.color import deltaE_ciede2000, rgb2lab
from torch import Tensor
from tqdm import tqdm

from facersa.cipher.description import label
from facersa.cipher.typed import Secrets
from facersa.errors import ImageError
from facersa.evaluation.attacks import classifier_accuracy
from facersa.evaluation.results import Key, head, rows
from facersa.inversion.kept import KeptInversions
from facersa.inversion.search import ProjectConfig
from facersa.judges.panel import FAMILIES, JUDGED_SIDE, Panel, Report
from facersa.ops import pixel_centres
from facersa.photo.align import PhotoFace
from facersa.photo.blend import UNITS, ovalness
from facersa.photo.images import resize, to_levels, to_uint8
from facersa.photo.square import Aligned, crop, unit_grid
from facersa.pipeline import FaceRSA

YAWS = (15, 30)  # degrees between the groups
SIDES = (128, 256)  # widths of the face in pixels between the groups
TONES = (10, 41)  # individual typology angles between dark, medium and light skin
# Rings around the rim of the painted oval, in its radii, in which colours are compared:
# on the face, and below it on the neck.
FACE_RING, NECK_RING = (0.6, 0.85), (1.1, 1.35)
PAIRS = "photo~Ie", "photo~Ie,d", "photo~Ie,d with detail"
SAME_PLACE = 0.25  # of a side: a detected face this near is the same


def on_photographs(
    engine: FaceRSA,
    photos: Sequence[Tensor],
    *,
    config: ProjectConfig | None = None,
    panel: Panel | None = None,
    keep: KeptInversions | None = None,
    same_look: bool = True,
    progress: bool = True,
) -> dict[str, Any]:
    """Encrypt and decrypt each face that can be, alone in its picture, and judge.

    Passwords are typed, so salts are drawn anew and no two runs are quite alike.

    Args:
        engine: with the cipher to measure.
        photos: whole photographs (1, 3, H, W), uint8.
        config: of the inversions.
        panel: judges that are loaded already.
        keep: where inversions are taken from, and put.
        same_look: as ``FaceRSA.encrypt`` takes it.
        progress: show a bar.

    Returns:
        A result, see ``results``. "property" is a group of faces: all, by yaw, by
        width in pixels, by skin tone. "pair" is the photograph with the encrypted
        picture, with the decrypted one as the code paints it, and with the one that has
        the photograph's own face (``PAIRS``), cut where the face is. Beside the usual
        figures there are:

        - "yaw": degrees by which the head turned;
        - "gender", "years": share of like apparent gender, years between apparent ages;
        - "outside": mean difference of the pixels beyond the oval in levels, which is
          that of the mark in the pixels;
        - "colour_edge": CIEDE2000 distance of face and neck, for "photo" and "Ie";
        - "detected": share of faces found again in "Ie";
        - "told_apart": accuracy of a classifier of plain and encrypted faces,
          photographs held out; and of plain ones and what their own codes paint.

    Not all judges are held out here. Salts are chosen by dlib's landmarks and by the
    network of gender and age, and the directions that the steady cipher keeps come
    from the pose network and from that one again: so of landmarks, pose, yaw, gender
    and years every figure flatters. Inversions listen to the training judge and to
    AlexNet, whose features "told_apart" reads. dlib's identity has chosen no code. How
    much forehead is painted was chosen, on other photographs, with the figures of all
    three judges of identity in sight.

    Raises:
        ImageError: no face in any of them.
    """
    panel = panel or Panel()
    values: dict[Key, list[float]] = defaultdict(list)
    features: list[list[Tensor]] = []
    refused = total = 0
    bar = tqdm(photos, desc="photographs", unit="picture", disable=not progress)
    for number, photo in enumerate(bar):
        found = engine.find_faces(photo)
        total += len(found)
        for index, face in enumerate(found):
            if face.obstacle:
                refused += 1
                continue
            inversion = engine.invert(
                photo, face=index, found=found, config=config, keep=keep, progress=False
            )
            secrets = Secrets(texts=(f"photograph {number}, face {index}",))
            encrypted = engine.encrypt(inversion, secrets, same_look=same_look)
            painted, own = (
                engine.decrypt(encrypted.picture, secrets, detail=detail)
                for detail in (False, True)
            )
            files = encrypted, painted, own
            pictures = [photo, *(file.picture.photo for file in files)]
            cut = [crop(p, face.quad, JUDGED_SIDE).image.float() for p in pictures]
            plain, *reports = (panel.report(picture) for picture in cut)
            features.append([panel.features(picture) for picture in cut[:3]])
            figures: dict[tuple[str, str, str | None], float] = {}
            for pair, other in zip(PAIRS, reports, strict=True):
                of_pair = panel.identity_figures(plain, other, "W", 1.0)
                of_pair |= panel.attribute_figures(plain, other)
                small = [resize(x.picture, 256) for x in (plain, other)]
                of_pair |= panel.pixel_figures(*small)
                for (metric, judge), value in of_pair.items():
                    figures[pair, metric, judge] = value
                for judge in FAMILIES:
                    turned = abs(_yaw(plain, judge) - _yaw(other, judge))
                    figures[pair, "yaw", judge] = turned
            figures |= _looks(engine, cut[0], cut[1])
            aligned = inversion.aligned
            for name, picture in (("photo", cut[0]), ("Ie", cut[1])):
                figures[name, "colour_edge", None] = colour_edge(picture, aligned.oval)
            figures["photo~Ie", "outside", None] = _outside(
                pictures[0], pictures[1], aligned
            )
            again = engine.find_faces(pictures[1])
            figures["Ie", "detected", None] = float(_is_among(face, again))
            for group in ("all", *_groups(face, plain, cut[0], aligned.oval)):
                for (pair, metric, judge), value in figures.items():
                    values[group, pair, metric, judge].append(value)
    if not features:
        raise ImageError("none of these pictures shows a face that can be encrypted.")
    if len(features) > 1:
        plain_features, *others = map(torch.stack, zip(*features, strict=True))
        for pair, painted_features in zip(PAIRS, others, strict=False):
            told = classifier_accuracy(plain_features, painted_features)
            values["all", pair, "told_apart", None] = told.tolist()
    steps = (config or ProjectConfig()).steps
    settings = {"pictures": len(photos), "faces": total, "refused": refused}
    settings |= {"steps": steps, "same_look": same_look}
    return head("photographs", cipher=label(engine.cipher()), settings=settings) | {
        "rows": rows(values)
    }


def colour_edge(picture: Tensor, oval: Sequence[int]) -> float:
    """CIEDE2000 distance of the face's mean colour from that below its oval.

    ``picture`` is an aligned face (1, 3, R, R) in [-1, 1].
    """
    side = picture.shape[-1]
    radius, low = _rings(oval, side)
    lab = rgb2lab(to_uint8(picture)[0])
    inside = (radius > FACE_RING[0]) & (radius < FACE_RING[1]) & low
    below = (radius > NECK_RING[0]) & (radius < NECK_RING[1]) & low
    return float(deltaE_ciede2000(lab[inside].mean(0), lab[below].mean(0)))


def _rings(oval: Sequence[int], side: int) -> tuple[np.ndarray, np.ndarray]:
    """Each pixel's distance from the oval's centre, and whether it is below it."""
    unit = unit_grid(side)
    (u, v), radius = unit.unbind(-1), ovalness(unit, oval)
    x, y = oval[0] / UNITS, oval[1] / UNITS
    return radius.numpy(), ((v - y) > 2 * (u - x).abs()).numpy()


def _yaw(report: Report, judge: str) -> float:
    """Degrees between where the face points and the camera, seen from above."""
    forward = report.rotations[judge][0, :, 2]
    return math.degrees(math.atan2(float(forward[0]), float(forward[2])))


@torch.no_grad()
def _looks(
    engine: FaceRSA, one: Tensor, other: Tensor
) -> dict[tuple[str, str, str | None], float]:
    a, b = engine.fitters.look.look(one), engine.fitters.look.look(other)
    return {
        ("photo~Ie", "gender", None): float((a.male > 0) == (b.male > 0)),
        ("photo~Ie", "years", None): float((a.age - b.age).abs()),
    }


def _outside(before: Tensor, after: Tensor, aligned: Aligned) -> float:
    """Mean difference in levels of the pixels outside the painted oval."""
    height, width = before.shape[-2:]
    inverse, origin = np.linalg.inv(aligned.matrix[:, :2]), aligned.matrix[:, 2]
    like = torch.empty(0, dtype=torch.float64)
    unit = pixel_centres(height, width, like) - torch.from_numpy(origin)
    outside = ovalness(unit @ torch.from_numpy(inverse.T), aligned.oval) > 1
    levels = [to_levels(picture)[0].short() for picture in (before, after)]
    return float((levels[1] - levels[0]).abs()[:, outside].double().mean())


def _is_among(face: PhotoFace, found: Sequence[PhotoFace]) -> bool:
    side = float(np.linalg.norm(face.quad[3] - face.quad[0]))
    middle = face.quad.mean(0)
    return any(
        np.linalg.norm(other.quad.mean(0) - middle) < SAME_PLACE * side
        for other in found
        if not other.obstacle
    )


def _groups(
    face: PhotoFace, report: Report, picture: Tensor, oval: Sequence[int]
) -> list[str]:
    yaw = abs(_yaw(report, "heldout"))
    wide = face.box[2] - face.box[0]
    return [
        _group("yaw", yaw, YAWS),
        _group("width", wide, SIDES),
        _group("skin", _tone(picture, oval), TONES),
    ]


def _group(name: str, value: float, limits: tuple[int, int]) -> str:
    if math.isnan(value):
        return f"{name} unknown"
    first, second = limits
    if value < first:
        return f"{name} below {first}"
    return f"{name} {first} to {second}" if value < second else f"{name} above {second}"


def _tone(picture: Tensor, oval: Sequence[int]) -> float:
    """Individual typology angle of the face's median colour, in degrees.

    arctan((L - 50) / b) of CIELAB (Chardon et al. 1991): high for light skin. Light
    and white balance of a photograph count as well.
    """
    radius, _ = _rings(oval, picture.shape[-1])
    lab = np.median(rgb2lab(to_uint8(picture)[0])[radius < FACE_RING[0]], axis=0)
    return math.degrees(math.atan2(float(lab[0]) - 50, float(lab[2])))
