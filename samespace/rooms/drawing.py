"""Draw a scene in perspective: find what each pixel sees, where on it and in which light, then develop the photo."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np
import numpy.typing as npt
from PIL import Image

from samespace.base.arrays import Array, Flags
from samespace.rooms.light import falling, gleam, light_grid
from samespace.rooms.scene import Camera, Keys, Scene, Shape, dot, unit
from samespace.rooms.surfaces import Spots, paint

Faces = npt.NDArray[np.int8]

FINE = 2  # edges are drawn at this many times the photo's resolution
CHUNK = 16384  # samples lit at a time: as many as stay in the processor's cache
NEAREST = 0.02  # metres; the camera sees nothing nearer
_EDGES = np.array([(i, i + bit) for bit in (1, 2, 4) for i in range(8) if not i & bit]).T  # (2, 12) corner numbers


@dataclass(frozen=True)
class View:
    """A camera as vectors: the line of sight through (x, y) on a picture of width 1 is ahead + x·right + y·up."""

    origin: Array  # (3,)
    right: Array
    up: Array
    ahead: Array  # unit length, so that distances along a sight are depths in metres

    def mirrored(self, shape: Shape) -> View:
        """Return the view from behind a mirror that shows in each pixel what the mirror shows there."""
        normal = shape.axes[:, 1]
        plane = float(normal @ np.array(shape.centre, dtype=np.float32)) - shape.half[1]

        def flip(vector: Array, about: float = 0.0) -> Array:
            return vector - 2 * (vector @ normal - about) * normal

        return View(flip(self.origin, plane), flip(self.right), flip(self.up), flip(self.ahead))


@dataclass
class Seen:
    """What each pixel sees: the depth in metres, and as a key 4 × shape + face axis, or -1 for nothing."""

    depth: Array  # (H, W)
    key: Keys  # (H, W)


@dataclass(frozen=True)
class Samples:
    """n places to colour: every pixel once, or FINE² times if shapes meet in it."""

    whole: npt.NDArray[np.intp]  # flat index of the pixels coloured once, which come first
    split: npt.NDArray[np.intp]  # flat index of those coloured FINE² times, which follow
    key: Keys  # (n,)
    depth: Array  # (n,)
    x: Array  # (n,) on the picture
    y: Array


def draw_scene(scene: Scene, camera: Camera, size: tuple[int, int]) -> Image.Image:
    """Return the photo that `camera` takes; the same call always gives the same pixels."""
    view = view_of(camera)
    seen = cast(scene.shapes, view, (size[0] * FINE, size[1] * FINE))
    mirrors = [number for number, shape in enumerate(scene.shapes) if shape.mirror]
    reflected = {number: _reflect(scene.shapes, number, view, seen) for number in mirrors}
    samples = _samples(seen, size)
    light = np.empty((3, samples.key.size), dtype=np.float32)
    turn = samples.key // np.int16(4 * len(scene.shapes))
    for index, one in enumerate([view, *(reflected[number] for number in mirrors)]):
        mine = np.flatnonzero(turn == index)
        if mine.size:
            light[:, mine] = _light(scene, one, _take(samples, mine, index * len(scene.shapes)), camera.zoom * size[0])
    return _develop(light, samples, camera, size)


def view_of(camera: Camera) -> View:
    """Return a camera's place and directions as vectors."""
    c, s, k, t = math.cos(camera.yaw), math.sin(camera.yaw), math.cos(camera.pitch), math.sin(camera.pitch)
    vectors = np.array([[c, s, 0], [s * t, -c * t, k], [-s * k, c * k, t]], dtype=np.float32)
    right, up, ahead = vectors
    return View(np.array(camera.position, dtype=np.float32), right / camera.zoom, up / camera.zoom, ahead)


def cast(shapes: Sequence[Shape], view: View, size: tuple[int, int]) -> Seen:
    """Find the nearest shape at each pixel of a picture; `size` is (width, height)."""
    width, height = size
    seen = Seen(np.full((height, width), np.inf, dtype=np.float32), np.full((height, width), -1, dtype=np.int16))
    for number, shape in enumerate(shapes):
        _cast_one(seen, shape, number, view, slice(0, height), slice(0, width), 0.0)
    return seen


def _cast_one(
    seen: Seen, shape: Shape, number: int, view: View, rows: slice, columns: slice, beyond: float | Array
) -> None:
    region = _bounds(shape, view, seen.depth.shape, rows, columns)
    if region is None:
        return
    x, y = _plane(seen.depth.shape)
    axes = shape.axes
    origin = axes.T @ (view.origin - np.array(shape.centre, dtype=np.float32))
    ahead, right, up = axes.T @ view.ahead + np.float32(1e-9), axes.T @ view.right, axes.T @ view.up
    sight = [(ahead[k] + up[k] * y[region[0]])[:, None] + (right[k] * x[region[1]])[None] for k in range(3)]
    with np.errstate(divide="ignore", invalid="ignore"):
        enter, leave, face = _MEET[shape.kind](shape, origin, sight)
    if isinstance(beyond, np.ndarray):
        beyond = beyond[region]
    depth, key = seen.depth[region], seen.key[region]
    hit = (enter <= leave) & (enter > beyond) & (enter < depth)
    if shape.rounding:
        _round_off(shape, origin, sight, enter, hit)
        hit &= enter < depth
    np.copyto(depth, enter, where=hit)
    np.copyto(key, np.int16(4 * number) + face, where=hit)


def _plane(shape: tuple[int, ...]) -> tuple[Array, Array]:
    """Return where pixel centres lie on a picture of width 1: x of each column, y of each row."""
    height, width = shape
    x = (np.arange(width, dtype=np.float32) + np.float32(0.5)) / np.float32(width) - np.float32(0.5)
    y = (np.float32(height / 2 - 0.5) - np.arange(height, dtype=np.float32)) / np.float32(width)
    return x, y


def _bounds(
    shape: Shape, view: View, picture: tuple[int, ...], rows: slice, columns: slice
) -> tuple[slice, slice] | None:
    """Return the part of `rows` and `columns` that can show the shape, or None."""
    away = shape.corners - view.origin
    depth = away @ view.ahead
    before = depth > NEAREST
    if not before.any():
        return None
    if not before.all():  # keep what lies before the camera: corners, and points where edges cross the camera's plane
        one, two = _EDGES[:, before[_EDGES[0]] != before[_EDGES[1]]]
        share = ((NEAREST - depth[one]) / (depth[two] - depth[one]))[:, None]
        away = np.concatenate([away[before], away[one] + share * (away[two] - away[one])])
        depth = np.maximum(away @ view.ahead, np.float32(NEAREST))
    height, width = picture
    x = (away @ view.right / (view.right @ view.right) / depth + 0.5) * width
    y = height / 2 - away @ view.up / (view.up @ view.up) / depth * width
    top, bottom = max(rows.start, math.floor(y.min())), min(rows.stop, math.ceil(y.max()) + 1)
    left, end = max(columns.start, math.floor(x.min())), min(columns.stop, math.ceil(x.max()) + 1)
    return (slice(top, bottom), slice(left, end)) if top < bottom and left < end else None


# For each kind of shape: where lines of sight enter and leave it (not enter <= leave if they miss it), and through
# which face, given as the number of the axis across it.
Meeting = tuple[Array, Array, Faces]


def _meet_box(shape: Shape, origin: Array, sight: list[Array]) -> Meeting:
    (near0, far0), (near1, far1), (near2, far2) = (_slab(origin[k], shape.half[k], sight[k]) for k in range(3))
    second = near1 > near0
    near = np.maximum(near0, near1)
    third = near2 > near
    face = (second & ~third).view(np.int8) + 2 * third.view(np.int8)
    return np.maximum(near, near2), np.minimum(np.minimum(far0, far1), far2), face


def _slab(origin: float, half: float, sight: Array) -> tuple[Array, Array]:
    slope = np.float32(1) / sight
    one, two = np.float32(-half - origin) * slope, np.float32(half - origin) * slope
    return np.minimum(one, two), np.maximum(one, two)


def _round_off(shape: Shape, origin: Array, sight: list[Array], depth: Array, hit: Flags) -> None:
    """Move `depth` where `hit` from the sharp box to the rounded one inside it, by sphere tracing."""
    where = np.nonzero(hit)
    step = [part[where] for part in sight]
    pace = np.sqrt(step[0] ** 2 + step[1] ** 2 + step[2] ** 2)
    walked = depth[where]
    inner = [np.float32(half - shape.rounding) for half in shape.half]
    left = walked
    for _ in range(6):
        over = [np.maximum(np.abs(origin[k] + step[k] * walked) - inner[k], 0) for k in range(3)]
        left = np.sqrt(over[0] ** 2 + over[1] ** 2 + over[2] ** 2) - np.float32(shape.rounding)
        walked = walked + left / pace
    depth[where] = walked
    hit[where] = left < 0.08 * shape.rounding


def _meet_cylinder(shape: Shape, origin: Array, sight: list[Array]) -> Meeting:
    near, far = _slab(origin[2], shape.half[2], sight[2])
    enter, leave = _quadric(shape, origin, sight, (0, 1))
    return np.maximum(near, enter), np.minimum(far, leave), 2 * (near > enter).view(np.int8)


def _meet_ellipsoid(shape: Shape, origin: Array, sight: list[Array]) -> Meeting:
    enter, leave = _quadric(shape, origin, sight, (0, 1, 2))
    return enter, leave, np.zeros(enter.shape, dtype=np.int8)


def _quadric(shape: Shape, origin: Array, sight: list[Array], axes: tuple[int, ...]) -> tuple[Array, Array]:
    """Return where lines of sight enter and leave a shape that `half` scales to a circle or ball; NaN if they miss."""
    starts = [np.float32(origin[k] / shape.half[k]) for k in axes]
    steps = [sight[k] / np.float32(shape.half[k]) for k in axes]
    a, b = np.zeros_like(steps[0]), np.zeros_like(steps[0])
    for start, step in zip(starts, steps, strict=True):
        a += step * step
        b += start * step
    root = np.sqrt(b * b - a * np.float32(sum(start * start for start in starts) - 1))
    return (-b - root) / a, (-b + root) / a


_MEET = {"box": _meet_box, "cylinder": _meet_cylinder, "ellipsoid": _meet_ellipsoid}


def _reflect(shapes: Sequence[Shape], number: int, view: View, seen: Seen) -> View:
    """Put what mirror `number` shows into `seen`, with 4 × len(shapes) × its rank among mirrors added to the keys."""
    rank = 1 + sum(shape.mirror for shape in shapes[:number])
    behind = view.mirrored(shapes[number])
    here = seen.key == 4 * number + 1
    if not here.any():
        return behind
    rows, columns = np.flatnonzero(here.any(axis=1)), np.flatnonzero(here.any(axis=0))
    window = slice(int(rows[0]), int(rows[-1]) + 1), slice(int(columns[0]), int(columns[-1]) + 1)
    image = Seen(np.full_like(seen.depth, np.inf), np.full_like(seen.key, -1))
    for other, shape in enumerate(shapes):
        if other != number:
            _cast_one(image, shape, other, behind, *window, seen.depth)
    found = here & (image.key >= 0)
    seen.depth[found] = image.depth[found]
    seen.key[found] = image.key[found] + 4 * len(shapes) * rank
    return behind


def _samples(seen: Seen, size: tuple[int, int]) -> Samples:
    corners = list(product(range(FINE), repeat=2))
    keys = [seen.key[row::FINE, column::FINE].ravel() for row, column in corners]
    closeness = [1 / seen.depth[row::FINE, column::FINE].ravel() for row, column in corners]
    same = np.logical_and.reduce([keys[0] == key for key in keys[1:]])
    whole, split = np.flatnonzero(same), np.flatnonzero(~same)
    x, y = _plane((size[1], size[0]))
    fine_x, fine_y = _plane(seen.depth.shape)
    rows, columns = np.divmod(split, size[0])
    return Samples(
        whole,
        split,
        np.concatenate([keys[0][whole], *(key[split] for key in keys)]),
        # Depth is not linear across the picture, its inverse is.
        1
        / np.concatenate(
            [np.mean([close[whole] for close in closeness], axis=0), *(close[split] for close in closeness)]
        ),
        np.concatenate([x[whole % size[0]], *(fine_x[FINE * columns + column] for _, column in corners)]),
        np.concatenate([y[whole // size[0]], *(fine_y[FINE * rows + row] for row, _ in corners)]),
    )


def _take(samples: Samples, rows: npt.NDArray[np.intp], lowered: int) -> Samples:
    key = (samples.key[rows] - 4 * lowered).astype(np.int16)
    return Samples(samples.whole, samples.split, key, samples.depth[rows], samples.x[rows], samples.y[rows])


def _light(scene: Scene, view: View, samples: Samples, pixels: float) -> Array:
    """Return the light that each sample sends to the eye, (3, n); `pixels` is the focal length in pixels."""
    order = np.argsort(scene.ranks[samples.key], kind="stable")
    key, depth = samples.key[order], samples.depth[order]
    sight = view.ahead[:, None] + view.right[:, None] * samples.x[order] + view.up[:, None] * samples.y[order]
    place = view.origin[:, None] + sight * depth
    normal, spots = _faces(scene, key, place, sight, depth / np.float32(pixels))
    albedo = np.empty_like(place)
    gloss, glow = np.zeros_like(depth), np.zeros_like(depth)
    for rows in _runs(scene.palette[key // 4]):
        surface = scene.shapes[key[rows.start] // 4].surface
        albedo[:, rows] = paint(spots.part(rows), surface)
        gloss[rows], glow[rows] = surface.gloss, surface.glow
    light, grid = np.empty_like(place), light_grid(scene)
    for start in range(0, key.size, CHUNK):
        rows = slice(start, start + CHUNK)
        here, facing = place[:, rows], normal[:, rows]
        light[:, rows] = albedo[:, rows] * (falling(scene, grid, here, facing) + glow[rows])
        light[:, rows] += gleam(scene, here, facing, sight[:, rows], gloss[rows])
    result = np.empty_like(light)
    result[:, order] = light
    return result


def _runs(values: Keys) -> Iterable[slice]:
    """Return the stretches over which `values` stay the same."""
    starts = np.flatnonzero(np.diff(values, prepend=np.int16(-1))).tolist()
    return map(slice, starts, [*starts[1:], values.size])


def _faces(scene: Scene, key: Keys, place: Array, sight: Array, footprint: Array) -> tuple[Array, Spots]:
    """Return the direction that each place faces, (3, n), and where it lies on its face; equal keys are neighbours."""
    normal = np.empty_like(place)
    u, v, half_u, half_v, number = np.empty((5, key.size), dtype=np.float32)
    for rows in _runs(key):
        which, face = divmod(int(key[rows.start]), 4)
        shape = scene.shapes[which]
        local = _turned(shape.axes.T, place[:, rows] - np.array(shape.centre, dtype=np.float32)[:, None])
        here = _normal(shape, local, face)
        normal[:, rows] = _turned(shape.axes, here)
        u[rows], v[rows], half_u[rows], half_v[rows], face = _coordinates(shape, local, here, face)
        number[rows] = face if shape.fixed else which
    # A pixel covers more of a surface seen aslant, but only one way: meet in the middle.
    slant = np.abs(dot(normal, sight)) / np.sqrt(dot(sight, sight))
    footprint = footprint / np.sqrt(np.maximum(slant, np.float32(0.05)))
    return normal, Spots(u, v, footprint, half_u, half_v, number, sight)


def _turned(axes: Array, vectors: Array) -> Array:
    """Return `axes @ vectors` without BLAS, whose threads would get in the way of ours."""
    return np.einsum("ij,jn->in", axes, vectors)


def _normal(shape: Shape, local: Array, face: int) -> Array:
    """Return the direction that a shape's surface faces at places, (3, n), both in the shape's own axes."""
    if shape.kind == "box" and shape.rounding:
        inner = np.array(shape.half, dtype=np.float32)[:, None] - np.float32(shape.rounding)
        return unit(local - np.clip(local, -inner, inner))
    if shape.kind == "box" or face == 2:
        normal = np.zeros_like(local)
        normal[face] = np.sign(local[face])
        return normal
    normal = local / np.array(shape.half, dtype=np.float32)[:, None] ** 2
    if shape.kind == "cylinder":
        normal[2] = 0
    return unit(normal)


def _coordinates(shape: Shape, local: Array, normal: Array, face: int) -> tuple[Array, Array, float, float, int]:
    """Return coordinates on a face, half its sizes, and its axis; on upright faces they run sideways and up."""
    if shape.kind == "cylinder" and face != 2:
        around = np.arctan2(local[1], local[0]) * np.float32(shape.half[0])
        return around, local[2], math.pi * shape.half[0], shape.half[2], face
    if shape.kind == "ellipsoid" or shape.rounding:
        face = int(np.argmax(np.abs(normal).mean(axis=1)))
    u, v = ((1, 2), (0, 2), (0, 1))[face]
    if not shape.fixed:
        return local[u], local[v], shape.half[u], shape.half[v], face
    shift = np.float32(shape.centre[u]), np.float32(shape.centre[v])
    return local[u] + shift[0], local[v] + shift[1], shape.half[u], shape.half[v], face


def _develop(light: Array, samples: Samples, camera: Camera, size: tuple[int, int]) -> Image.Image:
    """Turn light into a photo: exposure, white balance, tone curve, darker corners, noise."""
    bright = np.exp(np.log(light[1] + 0.02).mean())
    light = light * (np.float32(0.34 * camera.exposure) / bright)
    light[0] *= np.float32(1 + camera.warmth)
    light[2] *= np.float32(1 - camera.warmth)
    light = light * (2.51 * light + np.float32(0.03)) / (light * (2.43 * light + np.float32(0.59)) + np.float32(0.14))
    fine = np.sqrt(np.clip(light, 0, 1))  # close to sRGB's own curve
    fine = fine + np.float32(0.24) * (dot(fine, np.array([0.3, 0.59, 0.11], dtype=np.float32)) - fine)
    pixels = np.empty((3, size[0] * size[1]), dtype=np.float32)
    count = samples.whole.size
    pixels[:, samples.whole] = fine[:, :count]
    pixels[:, samples.split] = fine[:, count:].reshape(3, FINE * FINE, -1).mean(axis=1)
    x, y = _plane((size[1], size[0]))
    corners = 1 - np.float32(0.3) * (x[None] ** 2 + y[:, None] ** 2).ravel()
    grain = np.random.default_rng(camera.seed).standard_normal(size[0] * size[1], dtype=np.float32)
    photo = (pixels * corners + np.float32(0.008) * grain) * 255
    array = photo.clip(0, 255).astype(np.uint8).reshape(3, size[1], size[0]).transpose(1, 2, 0)
    return Image.fromarray(np.ascontiguousarray(array))
