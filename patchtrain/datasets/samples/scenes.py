"""Draws generated land seen from above and its classes; knows nothing of files or training.

Roads cross sandy land, buildings with shadows stand along them, plants grow here and there, and
most scenes have a lake, a river or a coast. Colour alone does not give away the class: roofs may
look like sand or asphalt, bare land like a road, plants like water, all in uneven light. Texture,
outline and surroundings tell them apart.

Legend: u, v px along and across the streets, from the middle of the scene; shares are of the
longer side of the scene.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

from patchtrain.datasets.samples.drawing import grain, smooth_field

SCENE_CLASSES = ("building", "land", "road", "vegetation", "water", "unlabeled")
"""Classes in the order of the values of `Scene.classes`."""

_BUILDING, _LAND, _ROAD, _VEGETATION, _WATER, _UNLABELED = range(len(SCENE_CLASSES))

_ROAD_WIDTH = (0.01, 0.02)
_BLOCK = (0.18, 0.34)
"""Distance between streets of one direction."""

_BUILDING_SIDE = (0.022, 0.065)
_MIN_BUILDING_PX = 4.0
_VEGETATION_SHARE = (0.08, 0.18)
_UNLABELED_CHANCE = 0.3

_SANDS = ((196, 186, 172), (168, 158, 148), (206, 204, 206), (180, 160, 136))
_ROOFS = ((222, 220, 216), (150, 148, 150), (196, 180, 160), (142, 92, 78), (112, 108, 108))
_ASPHALTS = ((122, 120, 120), (150, 146, 142), (98, 98, 102))
_GREENS = ((84, 98, 68), (62, 76, 56), (110, 114, 84))
_WATERS = ((38, 52, 58), (44, 72, 60), (30, 32, 34))

_FINE_TEXTURE = (3.0, 6.0, 2.5, 15.0, 1.5, 6.0)
_COARSE_TEXTURE = (3.0, 9.0, 4.0, 16.0, 4.0, 9.0)
"""Class -> strength of its texture of 1 to 2 px, and of 3 px and more, in grey levels."""

_NOISE_SIGMA = 3.5
_SHADE_LEVELS = 200
"""Grey level of full light while shadows are drawn."""


@dataclass(frozen=True)
class Scene:
    """Land seen from above.

    Attributes:
        image: uint8 [height, width, 3].
        classes: positions in `SCENE_CLASSES`, uint8 [height, width].
    """

    image: np.ndarray
    classes: np.ndarray


@dataclass(frozen=True)
class _Street:
    """A road; `u` is along streets of its own direction.

    Attributes:
        turn: direction in radians.
        v: px beside the scene's middle.
        bend: px by which it curves away at the scene's edges.
        width: px.
    """

    turn: float
    v: float
    bend: float
    width: float


def draw_scene(rng: np.random.Generator, width_px: int, height_px: int) -> Scene:
    """Draw a scene of this size."""
    drawing = _Drawing(rng, width_px, height_px)
    drawing.flood()
    drawing.plant()
    streets = drawing.pave()
    drawing.build(streets)
    if rng.random() < _UNLABELED_CHANCE:
        drawing.leave_out_a_piece()
    return drawing.finish()


class _Drawing:
    """A scene in the making: classes, colours and shadows, one thing drawn over the other."""

    def __init__(self, rng: np.random.Generator, width_px: int, height_px: int) -> None:
        self._rng = rng
        self._shape = (height_px, width_px)
        self._side_px = max(width_px, height_px)
        self._turn = rng.uniform(0, math.pi / 2)
        self._classes = Image.new("L", (width_px, height_px), _LAND)
        self._colours = Image.new("RGB", (width_px, height_px), _shade(rng, _SANDS))
        self._light = Image.new("L", (width_px, height_px), _SHADE_LEVELS)
        self._lay_out_fields()

    def _lay_out_fields(self) -> None:
        """Give some of the land another colour."""
        for _ in range(2):
            field = smooth_field(self._rng, self._shape, 0.25) > 0.35
            self._colours.paste(_shade(self._rng, _SANDS + _ASPHALTS[1:2]), mask=_mask(field))

    def flood(self) -> None:
        """Draw a lake, a river, a coast or nothing."""
        rng = self._rng
        kind = rng.choice(["lake", "river", "coast", "dry"], p=[0.35, 0.25, 0.2, 0.2])
        u, v = self._uneven_grid()
        if kind == "lake":
            radii = rng.uniform(0.1, 0.2, 2)
            place = rng.uniform(-0.35, 0.35, 2)
            water = np.hypot((u - place[0]) / radii[0], (v - place[1]) / radii[1]) < 1
        elif kind == "river":
            water = np.abs(v - rng.uniform(-0.3, 0.3)) < rng.uniform(0.03, 0.06)
        else:
            water = v > (rng.uniform(0.15, 0.35) if kind == "coast" else math.inf)
        self._fill(water, _WATER, _shade(rng, _WATERS))

    def _uneven_grid(self) -> tuple[np.ndarray, np.ndarray]:
        """Return where each px lies along two turned and bent axes, as shares from the middle."""
        height, width = self._shape
        x = (np.arange(width, dtype=np.float32)[None, :] - width / 2) / self._side_px
        y = (np.arange(height, dtype=np.float32)[:, None] - height / 2) / self._side_px
        turn = self._rng.uniform(0, 2 * math.pi)
        bends = [
            0.06 * smooth_field(self._rng, self._shape, 0.4)
            + 0.006 * smooth_field(self._rng, self._shape, 0.04)
            for _ in range(2)
        ]
        u = math.cos(turn) * x + math.sin(turn) * y + bends[0]
        v = math.cos(turn) * y - math.sin(turn) * x + bends[1]
        return u, v

    def plant(self) -> None:
        """Let plants cover some of the land."""
        rng = self._rng
        field = smooth_field(rng, self._shape, 0.12) + 0.35 * smooth_field(rng, self._shape, 0.015)
        share = rng.uniform(*_VEGETATION_SHARE)
        grown = (field > np.quantile(field[::4, ::4], 1 - share)) & self._is_land()
        self._fill(grown, _VEGETATION, _shade(rng, _GREENS))

    def pave(self) -> list[_Street]:
        """Draw a network of streets in two directions, over water and plants."""
        rng = self._rng
        streets = [
            *self._parallel_streets(self._turn),
            *self._parallel_streets(self._turn + math.pi / 2),
        ]
        classes, colours = ImageDraw.Draw(self._classes), ImageDraw.Draw(self._colours)
        for street in streets:
            u = np.linspace(-0.75, 0.75, 40) * self._side_px
            edges = [self._place(street, u, side * street.width / 2) for side in (-1, 1)]
            outline = [*np.concatenate([edges[0], edges[1][::-1]]).ravel()]
            classes.polygon(outline, fill=_ROAD)
            colours.polygon(outline, fill=_shade(rng, _ASPHALTS))
        return streets

    def _parallel_streets(self, turn: float) -> Iterator[_Street]:
        rng, side_px = self._rng, self._side_px
        v = -0.7 + rng.uniform(0, _BLOCK[1])
        while v < 0.7:
            bend = rng.uniform(-0.5, 0.5) if rng.random() < 0.3 else 0.0
            width = max(1.5, rng.uniform(*_ROAD_WIDTH) * side_px)
            yield _Street(turn=turn, v=v * side_px, bend=bend * side_px, width=width)
            v += rng.uniform(*_BLOCK)

    def _place(self, street: _Street, u: np.ndarray, beside: float | np.ndarray) -> np.ndarray:
        """Return x, y px [n, 2] of positions `u` along a street and `beside` it."""
        v = street.v + beside + street.bend * (u / self._side_px) ** 2
        along = np.array([math.cos(street.turn), math.sin(street.turn)])
        across = np.array([-along[1], along[0]])
        return self._middle() + np.outer(u, along) + np.outer(v, across)

    def _middle(self) -> np.ndarray:
        return np.array(self._shape[::-1]) / 2

    def build(self, streets: list[_Street]) -> None:
        """Put buildings along the streets wherever there is land."""
        side_px = self._side_px
        built_up = self._rng.uniform(0.5, 0.9)
        for street in streets:
            for side in (-1, 1):
                u = -0.7 * side_px
                while u < 0.7 * side_px:
                    length, depth = self._building_sides()
                    if self._rng.random() < built_up:
                        self._build_one(street, side, u, length, depth)
                    u += length + self._rng.uniform(0.006, 0.03) * side_px

    def _building_sides(self) -> tuple[float, float]:
        sides = self._rng.uniform(*_BUILDING_SIDE, 2) * self._side_px
        return max(_MIN_BUILDING_PX, sides[0]), max(_MIN_BUILDING_PX, sides[1])

    def _build_one(self, street: _Street, side: int, u: float, length: float, depth: float) -> None:
        """Draw a building of `length` along the street, unless something is in the way."""
        rng = self._rng
        gap = street.width / 2 + rng.uniform(0.006, 0.02) * self._side_px
        outline = _l_shape(rng) if rng.random() < 0.35 else _RECTANGLE
        corners = self._place(
            street, u + outline[:, 0] * length, side * (gap + outline[:, 1] * depth)
        )
        if not self._is_free(corners):
            return
        height_px = rng.uniform(0.004, 0.014) * self._side_px
        shadow = corners + height_px * np.array([0.8, 0.6])
        ImageDraw.Draw(self._light).polygon([*shadow.ravel()], fill=int(0.55 * _SHADE_LEVELS))
        ImageDraw.Draw(self._light).polygon([*corners.ravel()], fill=_SHADE_LEVELS)
        ImageDraw.Draw(self._classes).polygon([*corners.ravel()], fill=_BUILDING)
        self._draw_roof(corners)

    def _is_free(self, corners: np.ndarray) -> bool:
        """Return whether the area between the corners lies in the scene and is all land."""
        height, width = self._shape
        left, top = np.maximum(np.floor(corners.min(axis=0)), 0).astype(int)
        right, bottom = np.minimum(np.ceil(corners.max(axis=0)) + 1, [width, height]).astype(int)
        if right - left < 3 or bottom - top < 3:
            return False
        footprint = Image.new("L", (right - left, bottom - top))
        ImageDraw.Draw(footprint).polygon([*(corners - [left, top]).ravel()], fill=1)
        there = np.asarray(self._classes.crop((left, top, right, bottom)))
        return bool(np.all(there[np.asarray(footprint) == 1] == _LAND))

    def _draw_roof(self, corners: np.ndarray) -> None:
        """Draw a roof with a ridge or a few things on it."""
        rng = self._rng
        draw = ImageDraw.Draw(self._colours)
        colour = _shade(rng, _ROOFS)
        draw.polygon([*corners.ravel()], fill=colour)
        darker = tuple(int(0.82 * level) for level in colour)
        if rng.random() < 0.5:
            half = [
                corners[0],
                corners[1],
                corners[1:3].mean(axis=0),
                corners[[0, -1]].mean(axis=0),
            ]
            draw.polygon([*np.concatenate(half)], fill=darker)
        else:
            for weights in rng.dirichlet(np.full(len(corners), 2.0), 3):
                x, y = weights @ corners
                draw.rectangle((x, y, x + 0.005 * self._side_px, y + 0.004 * self._side_px), darker)

    def leave_out_a_piece(self) -> None:
        """Make the class of a small piece unknown, without changing the picture."""
        place = self._middle() + self._rng.uniform(-0.4, 0.4, 2) * self._shape[::-1]
        sides = np.maximum(2, self._rng.uniform(0.03, 0.08, 2) * self._side_px)
        ImageDraw.Draw(self._classes).rectangle(
            (*(place - sides / 2), *(place + sides / 2)), _UNLABELED
        )

    def finish(self) -> Scene:
        """Add light, texture and noise; drawn by channel to bound memory."""
        rng, shape = self._rng, self._shape
        classes = np.asarray(self._classes)
        light = self._uneven_light()
        texture = self._texture(classes)
        tints = rng.uniform(0.93, 1.07, 3)
        softened = self._colours.filter(ImageFilter.GaussianBlur(0.6))
        image = np.empty((*shape, 3), np.uint8)
        for channel, colours in enumerate(softened.split()):
            plane = np.asarray(colours, np.float32) + texture
            plane *= light * np.float32(tints[channel])
            plane += _NOISE_SIGMA * rng.standard_normal(shape, np.float32)
            image[..., channel] = np.clip(plane + 0.5, 0, 255)
        return Scene(image=image, classes=classes)

    def _uneven_light(self) -> np.ndarray:
        shadows = self._light.filter(ImageFilter.GaussianBlur(0.6))
        light = np.asarray(shadows, np.float32) / _SHADE_LEVELS
        light *= 1 + 0.06 * smooth_field(self._rng, self._shape, 0.3)
        return light * np.float32(self._rng.uniform(0.8, 1.1))

    def _texture(self, classes: np.ndarray) -> np.ndarray:
        """Return the texture of the class of each px, in grey levels around 0."""
        rng, shape = self._rng, self._shape
        fine = 0.6 * grain(rng, shape, 2) + 0.6 * rng.standard_normal(shape, np.float32)
        coarse = smooth_field(rng, shape, 3.5 / self._side_px)
        coarse += 0.6 * smooth_field(rng, shape, 0.03)
        fine *= np.array(_FINE_TEXTURE, np.float32)[classes]
        coarse *= np.array(_COARSE_TEXTURE, np.float32)[classes]
        return fine + coarse

    def _is_land(self) -> np.ndarray:
        return np.asarray(self._classes) == _LAND

    def _fill(self, where: np.ndarray, class_number: int, colour: tuple[int, ...]) -> None:
        mask = _mask(where)
        self._classes.paste(class_number, mask=mask)
        self._colours.paste(colour, mask=mask)


_RECTANGLE = np.array([[0, 0], [1, 0], [1, 1], [0, 1]], float)


def _l_shape(rng: np.random.Generator) -> np.ndarray:
    """Return the corners [6, 2] of an L in a square of side 1."""
    a, b = rng.uniform(0.35, 0.65, 2)
    return np.array([[0, 0], [1, 0], [1, b], [a, b], [a, 1], [0, 1]])


def _shade(rng: np.random.Generator, palette: tuple[tuple[int, ...], ...]) -> tuple[int, ...]:
    """Return one of the colours, somewhat lighter or darker."""
    colour = np.array(palette[rng.integers(len(palette))]) * rng.uniform(0.88, 1.12)
    return tuple(int(level) for level in np.clip(colour, 0, 255))


def _mask(where: np.ndarray) -> Image.Image:
    return Image.fromarray(where.astype(np.uint8) * np.uint8(255))
