"""Draws generated photographs of a retina and its vessels; knows nothing of files or training.

Vessel trees grow from a bright disc, branch and taper. Finding them takes both

- fine detail: thin vessels are 1 to 2 px wide at full resolution, whatever the size of the
  photograph, hardly darker than their surroundings, and vanish when it is reduced 4 x;
- context: noise and blobs are as dark as thin vessels, thick vessels are wider than a small patch
  of a large photograph, and the light changes across the retina.

Legend: x, y px of the photograph; shares are of the side of the photograph.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

from patchtrain.datasets.samples.drawing import grain, smooth_field

MIN_VESSEL_PX = 1.3
MAX_THIN_VESSEL_PX = 2.2

_VESSEL_SHARE = (0.09, 0.135)
"""Share of the retina that vessels would cover without overlaps."""

_THIN_SHARE = 0.2
"""Share of thin vessels in the area of all vessels."""

_TRUNK_WIDTH = 0.0155
_STEP = 0.006
_OVERSAMPLING = 2

_RETINA_RADIUS = (0.462, 0.474)
_RETINA_COLOUR = np.array([198, 116, 72], np.float32)
_DISC_COLOUR = np.array([250, 218, 140], np.float32)
_OUTSIDE_COLOUR = np.array([9, 7, 6], np.float32)
_VESSEL_ABSORPTION = np.array([0.45, 1.0, 0.6], np.float32)
_NOISE_SIGMA = np.array([3.0, 3.4, 3.6], np.float32)

_FAINTEST, _DARKEST = 0.11, 0.30
"""Optical density of the thinnest and the widest vessels in green light."""

_DENSITY_LEVELS = 800
"""Grey levels per unit of optical density while vessels are drawn."""


@dataclass(frozen=True)
class Retina:
    """A photograph and what it shows.

    Attributes:
        image: uint8 [side, side, 3].
        vessels: bool [side, side].
        field_of_view: bool [side, side]; everything except the black around the retina.
    """

    image: np.ndarray
    vessels: np.ndarray
    field_of_view: np.ndarray


@dataclass(frozen=True, kw_only=True)
class _Eye:
    """Where things are; positions (x, y) and lengths in px."""

    size_px: int
    centre: np.ndarray
    radius: float
    disc: np.ndarray
    disc_radius: float
    fovea: np.ndarray
    temporal: float
    """Direction from the disc to the fovea, in radians."""

    def holds(self, points: np.ndarray) -> np.ndarray:
        """Return which of the points [n, 2] lie on the retina."""
        return np.hypot(*(points - self.centre).T) < self.radius

    def distance(self, place: np.ndarray) -> np.ndarray:
        """Return the distance of each px to `place`, float32 [side, side]."""
        px = np.arange(self.size_px, dtype=np.float32) + 0.5
        return np.hypot(px[None, :] - np.float32(place[0]), px[:, None] - np.float32(place[1]))


@dataclass(frozen=True, kw_only=True)
class _Vessel:
    """A piece of a tree without branches.

    Attributes:
        points: px [n, 2].
        headings: direction at each point in radians [n].
        widths: px at each point [n].
        darkness: 1 in veins, less in arteries.
    """

    points: np.ndarray
    headings: np.ndarray
    widths: np.ndarray
    darkness: float


def draw_retina(rng: np.random.Generator, size_px: int) -> Retina:
    """Draw a photograph of `size_px` x `size_px`."""
    eye = _draw_eye(rng, size_px)
    density, vessels = _trace(_Growth(eye, rng).grow(), size_px)
    field_of_view = eye.distance(eye.centre) < eye.radius
    image = _photograph(eye, np.where(field_of_view, density, 0), rng)
    return Retina(image=image, vessels=vessels & field_of_view, field_of_view=field_of_view)


def _draw_eye(rng: np.random.Generator, size_px: int) -> _Eye:
    centre = size_px * (0.5 + rng.uniform(-0.01, 0.01, 2))
    outwards = math.pi * rng.integers(2) + rng.uniform(-0.2, 0.2)
    disc = centre + size_px * rng.uniform(0.28, 0.36) * _unit(outwards)
    temporal = outwards + math.pi + rng.uniform(-0.1, 0.1)
    return _Eye(
        size_px=size_px,
        centre=centre,
        radius=size_px * rng.uniform(*_RETINA_RADIUS),
        disc=disc,
        disc_radius=size_px * rng.uniform(0.05, 0.065),
        fovea=disc + size_px * rng.uniform(0.33, 0.38) * _unit(temporal),
        temporal=temporal,
    )


def _unit(angle: float) -> np.ndarray:
    return np.array([math.cos(angle), math.sin(angle)])


class _Growth:
    """Grows the vessels of an eye: trunks, then branches where there are few, until enough."""

    _CROWD_CELLS = 20
    _CANDIDATES = 5

    def __init__(self, eye: _Eye, rng: np.random.Generator) -> None:
        self._eye, self._rng = eye, rng
        self._vessels: list[_Vessel] = []
        self._area_px = 0.0
        self._crowd = np.zeros((self._CROWD_CELLS, self._CROWD_CELLS))
        self._keep_fovea_free()

    def grow(self) -> list[_Vessel]:
        """Return all vessels of the eye."""
        eye, rng = self._eye, self._rng
        retina_px = math.pi * eye.radius**2
        area_px = rng.uniform(*_VESSEL_SHARE) * retina_px
        for trunk in self._trunks():
            if self._area_px < area_px:  # all of them, except in tiny photographs
                self._add(trunk)
        while self._area_px < (1 - _THIN_SHARE) * area_px:
            self._add(self._least_crowded(thin=False))
        while self._area_px < area_px:
            self._add(self._least_crowded(thin=True))
        return self._vessels

    def _trunks(self) -> list[_Vessel]:
        """Return arcades above and below the fovea (artery and vein each), and nasal vessels."""
        rng = self._rng
        trunks = []
        for side in (-1, 1):
            apart = rng.uniform(0.2, 0.4)
            for vein in (0, 1):
                turn = rng.uniform(1.4, 1.9)
                start = side * (rng.uniform(1.15, 1.35) + apart * (1 - vein))
                trunks.append(self._trunk(start, -side * turn, 0.78 + 0.22 * vein, vein))
                start = side * rng.uniform(1.9, 2.7)
                trunks.append(self._trunk(start, side * rng.uniform(-0.3, 0.5), 0.6, vein))
        return trunks

    def _trunk(self, direction: float, turn: float, relative_width: float, vein: int) -> _Vessel:
        eye, rng = self._eye, self._rng
        width = relative_width * rng.uniform(0.88, 1.0) * _TRUNK_WIDTH * eye.size_px
        return self._vessel(
            eye.disc + rng.uniform(-0.2, 0.2, 2) * eye.disc_radius,
            eye.temporal + direction,
            width=width,
            tip_width=0.4 * width,
            length=rng.uniform(0.8, 1.0),
            turn=turn,
            darkness=0.72 + 0.28 * vein,
        )

    def _least_crowded(self, *, thin: bool) -> _Vessel:
        candidates = [self._branch(thin=thin) for _ in range(self._CANDIDATES)]
        return min(candidates, key=self._crowdedness)

    def _branch(self, *, thin: bool) -> _Vessel:
        """Return a branch off a random place of a random vessel."""
        rng = self._rng
        parent = self._longer_of_two()
        start = rng.integers(len(parent.points) // 5, len(parent.points))
        side = rng.choice([-1, 1])
        if thin:
            width = rng.uniform(MIN_VESSEL_PX, MAX_THIN_VESSEL_PX)
            length = rng.uniform(0.03, 0.12)
        else:
            width = rng.uniform(0.45, 0.8) * parent.widths[start]
            length = rng.uniform(0.1, 0.25) + 22 * width / self._eye.size_px
        return self._vessel(
            parent.points[start],
            parent.headings[start] + side * rng.uniform(0.5, 1.2),
            width=min(width, parent.widths[start]),
            tip_width=0.45 * width,
            length=length,
            turn=-side * rng.uniform(0.2, 0.9) * length / 0.2,
            darkness=parent.darkness,
        )

    def _longer_of_two(self) -> _Vessel:
        pair = [self._vessels[number] for number in self._rng.integers(len(self._vessels), size=2)]
        return max(pair, key=lambda vessel: len(vessel.points))

    def _vessel(
        self,
        start: np.ndarray,
        heading: float,
        *,
        width: float,
        tip_width: float,
        length: float,
        turn: float,
        darkness: float,
    ) -> _Vessel:
        """Return a winding vessel that ends where it leaves the retina; `length` is a share."""
        rng, step_px = self._rng, _STEP * self._eye.size_px
        along = np.linspace(0, 1, max(3, round(length / _STEP)))
        waves = sum(
            rng.uniform(0.05, 0.25) * np.sin(2 * math.pi * (length * along / period + rng.random()))
            for period in (0.05, 0.13)
        )
        wander = np.cumsum(rng.normal(0, 0.045, len(along)))
        headings = heading + turn * along + waves + wander
        steps = step_px * np.stack([np.cos(headings), np.sin(headings)], axis=1)
        points = start + np.cumsum(steps, axis=0) - steps[0]
        widths = np.maximum(width + (tip_width - width) * along, MIN_VESSEL_PX)
        inside = self._eye.holds(points)
        end = len(points) if inside.all() else max(2, int(np.argmin(inside)))
        return _Vessel(
            points=points[:end], headings=headings[:end], widths=widths[:end], darkness=darkness
        )

    def _add(self, vessel: _Vessel) -> None:
        self._vessels.append(vessel)
        areas = vessel.widths * _STEP * self._eye.size_px
        self._area_px += areas.sum()
        np.add.at(self._crowd, self._cells(vessel.points), 1.0)

    def _crowdedness(self, vessel: _Vessel) -> float:
        return float(self._crowd[self._cells(vessel.points)].mean())

    def _cells(self, points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        cells = (points * self._CROWD_CELLS / self._eye.size_px).astype(int)
        x, y = np.clip(cells, 0, self._CROWD_CELLS - 1).T
        return y, x

    def _keep_fovea_free(self) -> None:
        px = (np.arange(self._CROWD_CELLS) + 0.5) * self._eye.size_px / self._CROWD_CELLS
        distance = np.hypot(px[None, :] - self._eye.fovea[0], px[:, None] - self._eye.fovea[1])
        self._crowd[distance < 0.07 * self._eye.size_px] += 100


def _trace(vessels: list[_Vessel], size_px: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the vessels' optical density float32, and which px are vessel: [side, side] each."""
    side = _OVERSAMPLING * size_px
    canvas = Image.new("L", (side, side))
    draw = ImageDraw.Draw(canvas)
    pieces = [piece for vessel in vessels for piece in _pieces(vessel, size_px)]
    # wide ones last: where vessels cross or branch, the darker one shows
    for _, level, corners in sorted(pieces, key=lambda piece: piece[0]):
        draw.polygon([*(_OVERSAMPLING * corners).ravel()], fill=level)
    covered = canvas.point([0] + [255] * 255).reduce(_OVERSAMPLING)
    softened = canvas.reduce(_OVERSAMPLING).filter(ImageFilter.GaussianBlur(0.5))
    return np.asarray(softened, np.float32) / _DENSITY_LEVELS, np.asarray(covered) >= 128


def _pieces(vessel: _Vessel, size_px: int) -> list[tuple[float, int, np.ndarray]]:
    """Return width, grey level and corners [4, 2] of the pieces between the vessel's points."""
    # a drawn polygon includes the outline, which makes it about 1 px of the canvas wider
    half = (vessel.widths - 0.5 / _OVERSAMPLING)[:, None] / 2
    across = np.stack([-np.sin(vessel.headings), np.cos(vessel.headings)], axis=1) * half
    left, right = vessel.points + across, vessel.points - across
    corners = np.stack([left[:-1], left[1:], right[1:], right[:-1]], axis=1)
    widest = max(_TRUNK_WIDTH * size_px, 2 * MIN_VESSEL_PX)
    relative = (vessel.widths - MIN_VESSEL_PX) / (widest - MIN_VESSEL_PX)
    density = _FAINTEST + (_DARKEST - _FAINTEST) * np.sqrt(np.clip(relative, 0, 1))
    levels = np.rint(density * vessel.darkness * _DENSITY_LEVELS).astype(int)
    return list(zip(vessel.widths.tolist(), levels.tolist(), corners, strict=False))


def _photograph(eye: _Eye, density: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Return the photograph uint8 [side, side, 3], drawn by channel to bound memory."""
    shape = density.shape
    exposure, tint = rng.uniform(0.75, 1.1), rng.uniform(0.9, 1.1, 3)
    light = exposure * _illumination(eye, rng)
    disc = _soft_step(eye.disc_radius - eye.distance(eye.disc), 0.01 * eye.size_px)
    disc *= 0.85 + 0.08 * smooth_field(rng, shape, 0.05)
    blobs = _blobs(eye, rng)
    shown = np.clip(eye.radius - eye.distance(eye.centre) + 0.5, 0, 1)
    image = np.empty((*shape, 3), np.uint8)
    for channel in range(3):
        colour = _RETINA_COLOUR[channel] * np.float32(tint[channel])
        plane = (colour + disc * (_DISC_COLOUR[channel] - colour)) * light
        plane *= np.exp(_VESSEL_ABSORPTION[channel] * (blobs - density))
        plane += 2.5 * grain(rng, shape, 2) + 1.5 * smooth_field(rng, shape, 0.01)
        plane *= shown
        plane += (1 - shown) * _OUTSIDE_COLOUR[channel]
        noise = rng.standard_normal(shape, np.float32)
        plane += noise * (_NOISE_SIGMA[channel] * (0.3 + 0.7 * shown))
        image[..., channel] = np.clip(plane + 0.5, 0, 255)
    return image


def _illumination(eye: _Eye, rng: np.random.Generator) -> np.ndarray:
    """Return the light on the retina: less at the edge, uneven, little at the fovea."""
    shape = (eye.size_px, eye.size_px)
    brightest = eye.centre + eye.size_px * rng.uniform(-0.1, 0.1, 2)
    light = 1.05 - 0.45 * (eye.distance(brightest) / (2 * eye.radius)) ** 2 * 2
    light += 0.07 * smooth_field(rng, shape, 0.25) + 0.025 * smooth_field(rng, shape, 0.06)
    fovea = (eye.distance(eye.fovea) / (0.06 * eye.size_px)) ** 2
    return light * (1 - 0.22 * np.exp(-fovea))


def _blobs(eye: _Eye, rng: np.random.Generator) -> np.ndarray:
    """Return dark (negative) and bright blobs that are not vessels, as optical density."""
    canvas = Image.new("L", (eye.size_px, eye.size_px), 128)
    draw = ImageDraw.Draw(canvas)
    turns = np.linspace(0, 2 * math.pi, 24, endpoint=False)
    for _ in range(rng.integers(10, 24)):
        place = eye.centre + eye.radius * math.sqrt(rng.random()) * _unit(rng.uniform(0, 7))
        axes = eye.size_px * rng.uniform(0.003, 0.011, 2)
        tilt = rng.uniform(0, math.pi)
        outline = place + np.outer(np.cos(turns) * axes[0], _unit(tilt))
        outline += np.outer(np.sin(turns) * axes[1], _unit(tilt + math.pi / 2))
        draw.polygon(
            [*outline.ravel()], fill=128 + int(rng.choice([-1, 1]) * rng.integers(40, 110))
        )
    softened = canvas.filter(ImageFilter.GaussianBlur(0.0025 * eye.size_px))
    return (np.asarray(softened, np.float32) - 128) / 400


def _soft_step(distance_px: np.ndarray, softness_px: float) -> np.ndarray:
    """Return 1 where the distance is positive, 0 where negative, softly between."""
    return 0.5 + 0.5 * np.tanh(distance_px / softness_px)
