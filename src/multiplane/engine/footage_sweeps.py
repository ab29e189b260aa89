"""The three sweeps over footage: look, gather, cut. Each keeps what it found in the `Workplace`,
and each goes on from there."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from multiplane.core.clip import LayerClip
from multiplane.core.deeper import deepen
from multiplane.core.document import Pixels
from multiplane.core.pixels import Float, full_scale, to_float, to_u8
from multiplane.core.recompose import reconcile
from multiplane.core.request import LayerRequest, MadePlanes, Plane, RequestError
from multiplane.engine.footage_store import Look, Planes, Workplace
from multiplane.io import png
from multiplane.pipelines.cutout.candidates import LEAST_AREA, NoSubject
from multiplane.pipelines.cutout.complete import Completion, default_grow, dilated
from multiplane.pipelines.cutout.footage.cut import cut_frame
from multiplane.pipelines.cutout.footage.gather import Samples
from multiplane.pipelines.cutout.footage.keys import Box, Keys, Place, Walk
from multiplane.pipelines.cutout.footage.looks import Looks, box_around
from multiplane.pipelines.cutout.footage.plates import Plate, add_frame, finished, laid_behind
from multiplane.pipelines.cutout.footage.settings import MOTION, FootageSettings
from multiplane.pipelines.cutout.footage.steady import (
    DEFAULT_STEADY,
    Seen,
    SteadyConfig,
    small_frame,
    steadied,
)

FAINT = 0.05  # of a matte: what is less is background when the plate is gathered
ROOM = 28  # pixels around a matte that an edge may be refined in
FOUND = 0.5  # share of the frames looked at that must show a clear subject
_WANTED = Plane(wanted=True)
Report = Callable[[str, int, Float | None], None]  # sweep, frames done, what a frame shows


def source_frames(clip: LayerClip, start: int = 0) -> Iterator[Pixels]:
    """(H, W, 4) opaque frames from number `start` on, flattened, uint8 or uint16.

    Raises RequestError for footage that is see-through."""
    for number, document in enumerate(clip.starting(start), start=start):
        layer = png.plain_layer(document)
        pixels = png.flat(document) if layer is None else layer.pixels
        if pixels.dtype == np.float32:
            pixels = to_u8(pixels)
        if pixels[..., 3].min() < full_scale(pixels.dtype):
            raise RequestError(
                f"frame {number} of the footage is see-through: lay it over a colour first "
                "(multiplane convert clip.mov flat.mkv --over white)"
            )
        yield pixels


class Sweeps:
    """The sweeps over one clip. `run` does all of them."""

    def __init__(
        self,
        clip: LayerClip,
        settings: FootageSettings,
        looks: Looks,
        place: Workplace,
        report: Report,
    ) -> None:
        self.clip, self.settings, self._looks = clip, settings, looks
        self.place, self._report = place, report
        self.size = clip.size
        self.seconds: dict[str, float] = {}
        self.frames = 0
        self.looked = self.missed = 0
        self.keys = Keys(clip.size)
        self._places: list[Place] = []

    def run(self) -> None:
        """Raises NoSubject, RequestError, FetchError, and what reading the clip raises."""
        for name, sweep in (("look", self._look), ("gather", self._gather), ("cut", self._cut)):
            started = time.perf_counter()
            sweep()
            self.seconds[name] = round(time.perf_counter() - started, 3)

    # ---- first: look

    def _look(self) -> None:
        walk = Walk(self.settings.camera == "still")
        done = self.place.count("looks")
        last: Float | None = None  # the last matte there was
        for number, pixels in enumerate(source_frames(self.clip)):
            picture = to_u8(pixels[..., :3])
            if number < done:
                look = self.place.load_look(number)
                walk.resume(picture, look.place)
            else:
                look = self._look_at(number, pixels, picture, last, walk)
                self.place.save_look(number, look)
            if look.matte is not None:
                last = to_float(look.matte)
            self.looked += look.looked
            self.missed += look.looked and look.matte is None
            self._places.append(look.place)
            self.frames = number + 1
            self._report("look", self.frames, None)
        self._check_found()
        self._places = _with_boxes(self._places)
        self.keys = Keys.of(self._places, self.size, self.settings.matte == MOTION)

    def _look_at(
        self,
        number: int,
        pixels: Pixels,
        picture: NDArray[np.uint8],
        last: Float | None,
        walk: Walk,
    ) -> Look:
        """What the network and the camera's motion say of one frame."""
        looks = self.settings.matte != MOTION and number % self.settings.every == 0
        matte = self._looks.look(to_float(pixels)[..., :3], last) if looks else None
        known = matte if matte is not None else last
        grow = default_grow(picture.shape[:2])
        free = np.ones(picture.shape[:2], bool)
        if known is not None:
            free = ~dilated(known > FAINT, grow if matte is not None else 4 * grow)
        place = walk.take(picture, free, None if matte is None else _hidden_box(matte, grow))
        return Look(place, None if matte is None else to_u8(matte), looks)

    def _check_found(self) -> None:
        found = self.looked - self.missed
        if self.settings.matte != MOTION and found < FOUND * self.looked:
            raise NoSubject(
                f"no clear subject in {self.missed} of the {self.looked} frames looked at: say "
                "what to cut with --point x,y or --box x0,y0,x1,y1 in the first frame, try "
                "--matte isnet, or --matte motion for what moves before a background that stays"
            )

    # ---- second: mattes that agree in time, plates

    def _gather(self) -> None:
        wanted = [index for index, key in enumerate(self.keys.keys) if key.need is not None]
        plates = all(self.place.plate_path(index).exists() for index in wanted)
        if plates and self._mattes_there():
            return
        samples: dict[int, Samples] = {}
        ended = 0
        for number, pixels in enumerate(self._steadied()):
            place = self._places[number]
            while ended < self.keys.done_before(place):
                self._finish(ended, samples)
                ended += 1
            free = self._free(number)
            for index, matrix in self.keys.gathering(place):
                if self.place.plate_path(index).exists():
                    continue
                canvas = self.keys.keys[index].canvas
                shape = (canvas[3] - canvas[1], canvas[2] - canvas[0])
                if index not in samples:
                    samples[index] = Samples(shape, pixels.dtype)
                add_frame(samples[index], canvas, pixels[..., :3], free, matrix, number)
            self._report("gather", number + 1, None)
        for index in range(ended, len(self.keys.keys)):
            self._finish(index, samples)

    def _mattes_there(self) -> bool:
        return self.settings.matte == MOTION or self.place.count("mattes") == self.frames

    def _free(self, number: int) -> NDArray[np.bool_]:
        """(H, W): where a frame shows the background for sure."""
        width, height = self.size
        if self.settings.matte == MOTION:
            return np.ones((height, width), bool)  # what moves is outvoted
        matte = self.place.load_matte(number)
        return ~dilated(matte > FAINT, 2 * default_grow(matte.shape))

    def _finish(self, index: int, samples: dict[int, Samples]) -> None:
        """Make the plate of a key of what was gathered, once."""
        key, path = self.keys.keys[index], self.place.plate_path(index)
        gathered = samples.pop(index, None)
        if key.need is None or gathered is None or path.exists():
            return
        has_before = index > 0 and key.link is not None and self.keys.keys[index - 1].need
        before = self.place.load_plate(index - 1) if has_before else None
        method: Completion = self.settings.complete  # pyright: ignore[reportAssignmentType]
        plate = finished(gathered, key.canvas, before, key.link, method, self.settings.threads)
        plate.save(path)

    def _steadied(self) -> Iterator[Pixels]:
        """The frames in order, the matte of each kept before it comes."""
        if self.settings.matte == MOTION:
            yield from source_frames(self.clip)
            return
        config = self._steady_config()
        window: deque[Seen] = deque(maxlen=2 * config.reach + 1)
        ahead: deque[tuple[int, Pixels]] = deque()
        for number, pixels in enumerate(source_frames(self.clip)):
            grey = small_frame(to_u8(pixels[..., :3]), config)
            stored = self.place.load_look(number).matte
            window.append(Seen(number, grey, stored))
            ahead.append((number, pixels))
            if len(ahead) > config.reach:
                yield self._steady(ahead.popleft(), window, config)
        while ahead:
            yield self._steady(ahead.popleft(), window, config)

    def _steady(
        self, frame: tuple[int, Pixels], window: deque[Seen], config: SteadyConfig
    ) -> Pixels:
        number, pixels = frame
        if not self.place.has_matte(number):
            own = next(each for each in window if each.number == number)
            near = [each for each in window if abs(each.number - number) <= config.reach]
            asked = [each for each in near if each.matte is not None]
            if self.settings.every > 1:
                asked = _nearest(asked, number)
            if own.matte is not None and not self.settings.steady:
                asked = [own]
            if asked:
                matte = steadied(own, asked, config)
            else:
                matte = np.zeros(pixels.shape[:2], np.float32)
            self.place.save_matte(number, matte)
        return pixels

    def _steady_config(self) -> SteadyConfig:
        every = self.settings.every
        if every == 1:
            return DEFAULT_STEADY
        return replace(DEFAULT_STEADY, reach=every, fade=DEFAULT_STEADY.fade * every)

    # ---- third: cut

    def _cut(self) -> None:
        done = self.place.count("planes")
        load = lru_cache(maxsize=3)(self.place.load_plate)
        if done < self.frames:
            for number, pixels in enumerate(source_frames(self.clip, done), start=done):
                shown = self._cut_frame(number, pixels, load)
                self._report("cut", number + 1, shown)
        if self.settings.matte == MOTION:
            self._check_moved()

    def _cut_frame(self, number: int, pixels: Pixels, load: Callable[[int], Plate]) -> Float:
        """Cut, settle and keep one frame; its foreground."""
        place = self._places[number]
        plates = [
            (load(index), matrix, weight)
            for index, matrix, weight in self.keys.plates_of(place, number)
            if self.place.plate_path(index).exists()
        ]
        coarse = None if self.settings.matte == MOTION else self.place.load_matte(number)
        box = (0, 0, *self.size)
        if coarse is not None:
            box = _hidden_box(coarse, default_grow(coarse.shape)) or (0, 0, 1, 1)
        part = (slice(box[1], box[3]), slice(box[0], box[2]))
        cut = cut_frame(
            to_float(pixels[part])[..., :3],
            None if coarse is None else coarse[part],
            laid := laid_behind(plates, box),
            self.settings,
            default_grow(pixels.shape[:2]),
        )
        foreground, background = np.zeros_like(pixels), pixels.copy()
        foreground[part], background[part], figures = settled(
            cut.foreground, cut.background, np.ascontiguousarray(pixels[part])
        )
        hidden = foreground[part][..., 3] > 0
        facts = {
            **figures,
            "area": float((to_float(foreground[part][..., 3]) > 0.5).sum() / pixels[..., 3].size),
            "hidden": float(hidden.sum()),
            "gathered": float((hidden & laid.seen).sum()),
            "completed alone": float(cut.completed),
        }
        self.place.save_planes(number, Planes(foreground, background, facts))
        return to_float(foreground)

    def _check_moved(self) -> None:
        found = sum(
            self.place.load_figures(number)["area"] >= LEAST_AREA for number in range(self.frames)
        )
        if found < FOUND * self.frames:
            raise NoSubject(
                f"nothing moves before the background in {self.frames - found} of {self.frames} "
                "frames: name a network as the matte, such as --matte u2netp"
            )


def settled(
    foreground: Float, background: Float, pixels: Pixels
) -> tuple[Pixels, Pixels, dict[str, float]]:
    """(foreground, background, figures): the planes of a frame as they are stored, adding up to
    `pixels` (H, W, 4) in its own depth. foreground: (H, W, 4); background: (H, W, 3)."""
    opaque = np.dstack([background, np.ones(background.shape[:2], np.float32)])
    request = LayerRequest(
        foregrounds=(_WANTED,),
        background=_WANTED,
        composite=Plane(pixels=pixels),
        model="cutout",
    )
    found = reconcile(MadePlanes((foreground,), opaque, None), request)
    assert found.background is not None
    assert found.residual is None, "both planes are free, so no residual can be left"
    assert found.before is not None
    front, back = found.foregrounds[0], found.background
    if pixels.dtype != np.uint8:
        back, front = deepen(back, [front], pixels)
    figures = {"disagreement": found.before.mean, "disagreement maximum": found.before.maximum}
    return front, back, figures


def _hidden_box(matte: Float, grow: int) -> Box | None:
    """Around what a matte hides, with room for what its edge may become."""
    box = box_around(matte > FAINT)
    if box is None:
        return None
    height, width = matte.shape
    more = ROOM + 2 * grow
    return (
        max(0, int(box[0]) - more),
        max(0, int(box[1]) - more),
        min(width, int(np.ceil(box[2])) + more),
        min(height, int(np.ceil(box[3])) + more),
    )


def _with_boxes(places: list[Place]) -> list[Place]:
    """Places without a box get what holds those of the nearest frames before and after."""
    known = [number for number, place in enumerate(places) if place.box is not None]
    if not known:
        return places
    result: list[Place] = []
    after = 0
    for number, place in enumerate(places):
        while after < len(known) - 1 and known[after] < number:
            after += 1
        near = {known[after], known[max(0, after - 1)]}
        boxes: list[Any] = [places[each].box for each in near]
        low = [min(box[side] for box in boxes) for side in (0, 1)]
        high = [max(box[side] for box in boxes) for side in (2, 3)]
        result.append(replace(place, box=place.box or (low[0], low[1], high[0], high[1])))
    return result


def _nearest(mattes: list[Seen], number: int) -> list[Seen]:
    """The frame itself and the nearest one on each side."""
    before = [each for each in mattes if each.number < number][-1:]
    own = [each for each in mattes if each.number == number]
    return [*before, *own, *[each for each in mattes if each.number > number][:1]]
