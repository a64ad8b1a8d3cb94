"""BlazeFace, full range: a second detector, of faces that look aside or are small.

Google's network (Bazarevsky et al. 2019; MediaPipe, Apache-2.0) as its npm package
has it, run by OpenVINO. It reads a square of 192 pixels, so a photograph is searched
whole and in tiles. It is no judge: nothing is measured with it.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from itertools import product
from typing import Any, NamedTuple

import numpy as np
import torch

from facersa.assets.registry import asset_path
from facersa.photo.images import resample

SIDE = 192  # pixels of the network's picture
KEPT = 4  # pixels of a large tile, along each side, for one that the network reads
CELLS = 48  # anchors in a row: one for each square of four pixels
CLEAR = 0.6  # score: false detections rarely reach it, faces that can be seen do
OVERLAP = 0.3  # intersection over union from which two boxes are one face
TILES = (0.5, 1, 2, 4, 8)  # tiles along the longer side; large faces need room
SMALLEST_TILE = 160  # pixels: in it the network sees faces of about 20
SHARED = 1 / 3  # of a tile's side, with the next one: no face is cut everywhere
# Share of a face's box in the picture: from the first a face can be recognised, above
# the last it is found without what is painted beyond the edge.
SHOWN = 0.25, 0.85
# Score below which what nothing else takes for a face may be none: real ones that are
# large enough had .70 and more, a rock in a landscape .63; and a mirror makes faces of
# many things.
UNSURE = 0.68
FINE = 20  # of the network's pixels: what is smaller in a mirror may be any texture


class Found(NamedTuple):
    """A face: box (left, top, right, bottom), score, six points (6, 2), in pixels.

    The points are the eyes, the tip of the nose, the mouth and the ears; of pairs the
    one to the left in the picture comes first where the face is upright.
    """

    box: np.ndarray
    score: float
    points: np.ndarray


class BlazeFace:
    """The detector; ``network`` maps (1, 192, 192, 3) in [-1, 1] to its two outputs."""

    def __init__(self, network: Any) -> None:
        self.network = network
        middles = (np.arange(CELLS) + 0.5) / CELLS
        x, y = np.meshgrid(middles, middles)
        self._anchors = np.stack([x.ravel(), y.ravel()], 1)[:, None]

    def detect(self, levels: np.ndarray, threshold: float = CLEAR) -> list[Found]:
        """The faces in a photograph (H, W, 3) uint8 RGB, best first."""
        from torchvision.ops import nms

        longest = max(levels.shape[:2])
        found = [
            face
            for search, smallest in (
                (self._search, SMALLEST_TILE),
                (self._search_edges, 2 * SMALLEST_TILE),  # fine enough for half a face
            )
            for count in TILES
            if count <= 1 or longest >= count * smallest
            for face in search(levels, count, threshold)
        ]
        if not found:
            return []
        boxes = torch.tensor(np.array([face.box for face in found]))
        scores = torch.tensor([face.score for face in found], dtype=boxes.dtype)
        return [found[index] for index in nms(boxes, scores, OVERLAP).tolist()]

    def _search(
        self, levels: np.ndarray, count: float, threshold: float
    ) -> list[Found]:
        """Faces in tiles, about ``count`` of them along the longer side."""
        height, width = levels.shape[:2]
        tile = math.ceil(max(height, width) / count)
        places = product(_starts(height, tile), _starts(width, tile))
        return self._look_at(levels, places, tile, threshold)

    def _search_edges(
        self, levels: np.ndarray, count: float, threshold: float
    ) -> list[Found]:
        """Faces that the picture's edge cuts: half a face is a whole one in a mirror.

        What is less than half cut is found better with black beyond the edge.
        """
        tile = math.ceil(max(levels.shape[:2]) / count)
        every = max(1, tile // (KEPT * SIDE))  # a large tile is not copied as a whole
        thin = levels[::every, ::every]
        side, (height, width) = math.ceil(tile / every), thin.shape[:2]
        half = side // 2
        rows, columns = (
            [half + start for start in _starts(length, side)]
            for length in (height, width)
        )
        places = {*product(rows, (0, width)), *product((0, height), columns)}
        found = []
        for beyond in ("symmetric", "constant"):
            wide = np.pad(thin, ((half, half), (half, half), (0, 0)), beyond)
            clear = max(threshold, UNSURE)
            for face in self._look_at(wide, sorted(places), side, clear):
                box = face.box - half
                fine = FINE * side <= SIDE * (box[2] - box[0])
                if fine and SHOWN[0] <= share_inside(box, thin.shape) <= SHOWN[1]:
                    points = (face.points - half) * every
                    found.append(Found(box * every, face.score, points))
        return found

    def _look_at(
        self,
        levels: np.ndarray,
        places: Iterable[tuple[int, int]],
        tile: int,
        threshold: float,
    ) -> list[Found]:
        """Faces in the tiles that begin at these places (top, left)."""
        found = []
        for top, left in places:
            part = levels[top : top + tile, left : left + tile]
            for box, score, points in self._look(part, tile, threshold):
                shift = np.array([left, top])
                found.append(Found(box + np.tile(shift, 2), score, points + shift))
        return found

    def _look(self, part: np.ndarray, tile: int, threshold: float) -> list[Found]:
        """Faces in one tile, which is filled up with black to a square."""
        rows, columns = (max(1, round(side * SIDE / tile)) for side in part.shape[:2])
        square = np.zeros((SIDE, SIDE, 3), dtype=np.uint8)
        every = max(1, tile // (KEPT * SIDE))  # a large tile is not copied as a whole
        thin = np.ascontiguousarray(part[::every, ::every])
        small = resample(thin, (columns, rows), "bilinear")
        square[:rows, :columns] = small
        outputs = self.network(square[None].astype(np.float32) / 127.5 - 1)
        numbers, logits = sorted(outputs.values(), key=lambda value: -value.shape[-1])
        scores = 1 / (1 + np.exp(-logits[0, :, 0].astype(np.float64).clip(-80, 80)))
        sure = scores > threshold
        places = numbers[0, sure].astype(np.float64).reshape(-1, 8, 2) / SIDE
        centres = places[:, 0] + self._anchors[sure, 0]
        boxes = np.concatenate(
            [centres - places[:, 1] / 2, centres + places[:, 1] / 2], 1
        )
        points = places[:, 2:] + self._anchors[sure]
        return [
            Found(box * tile, float(score), point * tile)
            for box, score, point in zip(boxes, scores[sure], points, strict=True)
        ]


def share_inside(box: Sequence[float] | np.ndarray, shape: Sequence[int]) -> float:
    """The share of a box that lies in a picture (H, W, ...)."""
    edges = np.array([shape[1], shape[0], shape[1], shape[0]])
    inside = np.clip(box, 0, edges)
    area = (box[2] - box[0]) * (box[3] - box[1])
    return float(np.prod(inside[2:] - inside[:2]) / area)


def _starts(side: int, tile: int) -> list[int]:
    """Where tiles begin that cover a side, and share some with their neighbours."""
    if side <= tile:
        return [0]
    steps = -(-(side - tile) // int(tile * (1 - SHARED)))
    return [round(step * (side - tile) / steps) for step in range(steps + 1)]


def load_blazeface() -> BlazeFace:
    """The detector with its pretrained weights, on the CPU."""
    import openvino as ov

    core = ov.Core()
    hints = {"PERFORMANCE_HINT": "LATENCY"}
    return BlazeFace(core.compile_model(str(asset_path("faces.tflite")), "CPU", hints))
