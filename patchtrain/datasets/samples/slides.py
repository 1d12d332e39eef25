"""Draws generated slides of known grade; knows nothing of files, splits or training.

A slide shows one piece of tissue with a dark bluish band at one end, and in it one lesion, a
slightly darker region. Reading the grade takes both fine detail *and* the whole slide:

- grade = 2 * texture + location.
- texture (0 stripes, 1 lattice, 2 dots) fills the lesion with waves of 4 px at full resolution,
  whatever the size of the slide. All have the same mean and variance, and vanish in the mean of
  8 x 8 px.
- location is 0 where the lesion lies in the half of the tissue that has the band, 1 in the other.
  The tissue is turned at random and otherwise the same at both ends, and the lesion never touches
  the band: neither a patch nor a position on the slide gives away the location.

Shape, position, rotation and stain of the tissue do not depend on the grade.

Legend: x, y px of the slide; u along the tissue towards the band and v across it, as shares of the
side of the slide, from the centre of the tissue.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from PIL import Image

NUM_TEXTURES = 3
NUM_LOCATIONS = 2
TEXTURE_PERIOD_PX = 4

_HALF_LENGTH = 0.465
_HALF_WIDTH = (0.33, 0.38)
_OUTLINE_STRENGTH = 0.02
_BAND_FROM_U = 0.41
_LESION_U = 0.145
_LESION_HALF_LENGTH = (0.13, 0.14)
_LESION_HALF_WIDTH = (0.23, 0.26)
_MAX_SHIFT = 0.02
_SOFTNESS = 0.006
"""Width of soft edges, as a share of the side of the slide."""

_EOSIN = np.array([0.08, 0.90, 0.42], np.float32)
_HEMATOXYLIN = np.array([0.85, 0.75, 0.25], np.float32)
"""Optical density (-ln of the light let through) of the two stains in red, green and blue."""

_WAVE_SIGMA = 15.0
_GRAIN_SIGMA = 12.0
_NOISE_SIGMA = 4.0
"""Strength of fine detail, in 8-bit grey levels."""

_DETAIL_COLOUR = np.array([1.0, 1.1, 0.7], np.float32)

_MAX_SCENE_PX = 512
"""Side of the coarse picture that large slides are enlarged from before detail is added."""

_ROWS_AT_ONCE = 512


@dataclass(frozen=True, kw_only=True)
class SlidePlan:
    """Everything that decides how a slide looks; lengths are shares of the side of the slide."""

    texture: int
    location: int
    centre_x: float
    centre_y: float
    turn: float
    """Direction of the band seen from the tissue's centre, in radians."""
    half_width: float
    lesion_half_length: float
    lesion_half_width: float
    lesion_v: float
    outline: tuple[tuple[float, float], ...]
    """(strength, phase) of the even waves that bend the outline, the same at both ends."""
    eosin: float
    hematoxylin: float
    detail_seed: int

    @property
    def grade(self) -> int:
        """ISUP grade, 0 to 5."""
        return NUM_LOCATIONS * self.texture + self.location

    @property
    def lesion_u(self) -> float:
        """Position of the centre of the lesion along the tissue."""
        return _LESION_U if self.location == 0 else -_LESION_U


@dataclass(frozen=True)
class _Scene:
    """The slide at coarse scale: float32 arrays [side, side], `light` with a colour axis."""

    light: np.ndarray
    grain: np.ndarray
    wave: np.ndarray
    noise: np.ndarray


def draw_plan(grade: int, rng: np.random.Generator) -> SlidePlan:
    """Draw a plan for a slide of `grade`; the numbers from `rng` do not depend on the grade."""
    texture, location = divmod(grade, NUM_LOCATIONS)
    return SlidePlan(
        texture=texture,
        location=location,
        centre_x=0.5 + rng.uniform(-_MAX_SHIFT, _MAX_SHIFT),
        centre_y=0.5 + rng.uniform(-_MAX_SHIFT, _MAX_SHIFT),
        turn=rng.uniform(0, 2 * math.pi),
        half_width=rng.uniform(*_HALF_WIDTH),
        lesion_half_length=rng.uniform(*_LESION_HALF_LENGTH),
        lesion_half_width=rng.uniform(*_LESION_HALF_WIDTH),
        lesion_v=rng.uniform(-_MAX_SHIFT, _MAX_SHIFT),
        outline=tuple(
            (rng.uniform(0, _OUTLINE_STRENGTH), rng.uniform(0, 2 * math.pi)) for _ in range(4)
        ),
        eosin=rng.uniform(0.33, 0.5),
        hematoxylin=rng.uniform(0.08, 0.16),
        detail_seed=int(rng.integers(2**32)),
    )


def render_slide(plan: SlidePlan, size_px: int) -> np.ndarray:
    """Return the slide as uint8 [size_px, size_px, 3]; drawn in strips to bound memory."""
    rng = np.random.default_rng(plan.detail_seed)
    scene = _draw_scene(plan, min(size_px, _MAX_SCENE_PX), rng)
    waves = _draw_waves(plan.texture, rng)
    slide = np.empty((size_px, size_px, 3), np.uint8)
    for top in range(0, size_px, _ROWS_AT_ONCE):
        rows = range(top, min(top + _ROWS_AT_ONCE, size_px))
        light = _enlarge(scene.light, rows, size_px)
        light += _detail(scene, waves, rows, size_px, rng)[..., None] * _DETAIL_COLOUR
        np.clip(light + 0.5, 0, 255, out=light)
        slide[top : rows.stop] = light
    return slide


def slide_masks(plan: SlidePlan, size_px: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return tissue, band and lesion as weights 0 to 1, float32 [size_px, size_px] each."""
    share = (np.arange(size_px, dtype=np.float32) + 0.5) / size_px
    dx, dy = share[None, :] - plan.centre_x, share[:, None] - plan.centre_y
    u = dx * math.cos(plan.turn) + dy * math.sin(plan.turn)
    v = dy * math.cos(plan.turn) - dx * math.sin(plan.turn)

    angle = np.arctan2(v / plan.half_width, u / _HALF_LENGTH)
    # even waves only: they repeat after half a turn, so both ends of the tissue look alike
    edge = 1 + sum(
        strength * np.cos(2 * (number + 1) * angle + phase)
        for number, (strength, phase) in enumerate(plan.outline)
    )
    tissue = _inside((edge - np.hypot(u / _HALF_LENGTH, v / plan.half_width)) * plan.half_width)
    band = tissue * _inside(u - _BAND_FROM_U)
    lesion_radius = np.hypot(
        (u - plan.lesion_u) / plan.lesion_half_length, (v - plan.lesion_v) / plan.lesion_half_width
    )
    lesion = tissue * _inside((1 - lesion_radius) * plan.lesion_half_length)
    return tissue, band, lesion


def _draw_scene(plan: SlidePlan, size_px: int, rng: np.random.Generator) -> _Scene:
    tissue, band, lesion = slide_masks(plan, size_px)
    mottle = [_smooth_field(rng, size_px) for _ in range(2)]
    eosin = tissue * (plan.eosin + 0.03 * mottle[0])
    hematoxylin = tissue * (plan.hematoxylin + 0.015 * mottle[1]) + 0.14 * lesion + 0.7 * band
    density = eosin[..., None] * _EOSIN + hematoxylin[..., None] * _HEMATOXYLIN
    return _Scene(
        light=246 * np.exp(-density),
        grain=_GRAIN_SIGMA * tissue * (1 - 0.5 * lesion) * (1 - 0.5 * band),
        wave=_WAVE_SIGMA * lesion,
        noise=_NOISE_SIGMA * (0.2 + 0.8 * tissue),
    )


def _draw_waves(texture: int, rng: np.random.Generator) -> _Waves:
    return _Waves(texture, turn=rng.uniform(0, math.pi), shift_px=rng.uniform(0, 100, 2))


@dataclass(frozen=True)
class _Waves:
    """A texture of plane waves, slightly bent: zero mean and unit variance whatever the kind."""

    texture: int
    turn: float
    shift_px: np.ndarray

    def at(self, rows: range, size_px: int) -> np.ndarray:
        """Return the texture in these rows of a slide, float32 [rows, size_px]."""
        y = np.arange(rows.start, rows.stop, dtype=np.float32)[:, None] + self.shift_px[0]
        x = np.arange(size_px, dtype=np.float32)[None, :] + self.shift_px[1]
        bend = 2 * math.pi / 97
        x, y = x + 1.5 * np.sin(bend * y), y + 1.5 * np.sin(bend * x)
        num_waves = self.texture + 1
        waves = np.zeros((len(rows), size_px), np.float32)
        for number in range(num_waves):
            # 1 wave; 2 at right angles; 3 at 60 degrees to each other, whose troughs meet in dots
            direction = self.turn + math.pi * number / num_waves
            u = math.cos(direction) * x + math.sin(direction) * y
            waves += np.cos(2 * math.pi / TEXTURE_PERIOD_PX * u)
        return waves * -math.sqrt(2 / num_waves)


def _detail(
    scene: _Scene, waves: _Waves, rows: range, size_px: int, rng: np.random.Generator
) -> np.ndarray:
    """Return the fine detail of these rows, in grey levels around 0."""
    shape = (len(rows), size_px)
    half = rng.standard_normal((shape[0] // 2 + 1, shape[1] // 2 + 1), np.float32)
    grain = half.repeat(2, axis=0).repeat(2, axis=1)[: shape[0], : shape[1]]
    detail = grain * _enlarge(scene.grain, rows, size_px)
    detail += rng.standard_normal(shape, np.float32) * _enlarge(scene.noise, rows, size_px)
    detail += waves.at(rows, size_px) * _enlarge(scene.wave, rows, size_px)
    return detail


def _inside(distance: np.ndarray) -> np.ndarray:
    """Return 0 where the distance to an edge is negative, 1 where positive, softly between."""
    return (0.5 + 0.5 * np.tanh(distance / _SOFTNESS)).astype(np.float32)


def _smooth_field(rng: np.random.Generator, size_px: int) -> np.ndarray:
    """Return random unevenness [size_px, size_px] of about unit variance, 1/12 of a slide wide."""
    return _enlarge(rng.standard_normal((12, 12), np.float32), range(size_px), size_px)


def _enlarge(field: np.ndarray, rows: range, size_px: int) -> np.ndarray:
    """Return these rows of the square `field` [side, side(, C)] enlarged to `size_px`."""
    if field.ndim == 3:
        planes = [_enlarge(field[..., plane], rows, size_px) for plane in range(field.shape[2])]
        return np.stack(planes, axis=2)
    if len(field) == size_px:
        return field[rows.start : rows.stop]
    scale = len(field) / size_px
    box = (0, rows.start * scale, len(field), rows.stop * scale)
    enlarged = Image.fromarray(np.ascontiguousarray(field)).resize(
        (size_px, len(rows)), Image.Resampling.BICUBIC, box=box
    )
    return np.asarray(enlarged)
