"""One layered training picture made by models: foreground, then the whole, then the background.

The multi-layer data road of LayerDiffuse (Zhang and Agrawala 2024, section 3): a foreground by a
model of transparent pictures; the whole picture by inpainting everything the foreground does not
cover; the background by inverting the alpha, eroding it by 8 pixels and inpainting again. Every
function here is pure but for the family it is handed, and any family that makes foregrounds and
paints flat pictures will do.

Three things are ours. Models leave alpha a little off 1 in the solid and off 0 outside, so "alpha <
1" and "alpha > 0" are read with a tolerance. A model may fill its canvas with the object, which
leaves no room for a picture around it: `scale` sets it smaller, on the ground. And a family that
knows planes need not paint flat pictures: by the road "planes" it makes background and whole around
the given foreground in one request.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from multiplane.core.composite import over
from multiplane.core.family import Family
from multiplane.core.pixels import resize, to_float, to_u8
from multiplane.core.request import LayerRequest, Plane, RequestError, Task
from multiplane.data.pictures import disagreement, png
from multiplane.data.prompt_lists import ScenePrompt
from multiplane.data.shards import BrokenSource, Member
from multiplane.engine import families_for
from multiplane.engine.generate import run_request

PAIR_FORM = 1  # raise it when the bytes of a pair change for the same planes
GREY = np.float32(0.5)  # what inpainting starts from where nothing is given yet
Bytes: TypeAlias = NDArray[np.uint8]
Road = Literal["inpaint", "planes"]

FOREGROUND = Task.of("-> foreground")
FLAT = Task.of("-> composite")
AROUND = Task.of("foreground -> background composite")


@dataclass(frozen=True)
class PairConfig:
    """How the planes of a pair are made.

    road: "inpaint" paints flat pictures, as the paper does; "planes" has the family make background
    and whole around the foreground, and then the whole is over(foreground, background). size:
    (width, height); None is the family's own. erode: pixels the kept surroundings are eroded by
    before the background is painted; the paper's 8 are for a model of 1024 px, so scale them with
    the size (1 or 2 at 128 px) or lose what little the object leaves free. scale: size of the
    object's plane on the canvas, drawn from this range. solid, clear: alpha from where on, and up
    to where, a pixel counts as wholly covered, or not at all. least_solid, least_clear: shares of
    such pixels a foreground must have (the paper leaves out pictures that have none of either)."""

    road: Road = "inpaint"
    size: tuple[int, int] | None = None
    steps: int | None = None
    guidance: float | None = None
    erode: int = 8
    scale: tuple[float, float] = (1.0, 1.0)
    solid: float = 0.97
    clear: float = 0.03
    least_solid: float = 0.01
    least_clear: float = 0.015

    def __post_init__(self) -> None:
        if self.erode < 0:
            raise ValueError(f"erode must be 0 or more pixels, got {self.erode}")
        if not 0 < self.scale[0] <= self.scale[1] <= 1:
            raise ValueError(f"scale must be a range within 0..1, got {self.scale}")
        if not 0 <= self.clear < self.solid <= 1:
            raise ValueError(f"0 <= clear < solid <= 1 is needed, got {self.clear}, {self.solid}")
        if self.road not in ("inpaint", "planes"):
            raise ValueError(f"the road must be inpaint or planes, got {self.road!r}")


@dataclass(frozen=True, eq=False)
class LayerPair:
    """foreground: (H, W, 4) uint8 straight. background, composite: (H, W, 3) uint8. scores: what
    judges said, by name."""

    prompt: ScenePrompt
    seed: int
    foreground: Bytes
    background: Bytes
    composite: Bytes
    scores: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Score:
    """A judge of finished pairs, such as an aesthetic or a CLIP score (the paper kept pairs of 5.5
    and more of the first). least: pairs below are left out; None only notes the figure."""

    name: str
    judge: Callable[[LayerPair], float]
    least: float | None = None


def check_family(family: Family, config: PairConfig) -> None:
    """Raises RequestError naming the families that can, when this one cannot make pairs."""
    for task in needed_tasks(config):
        if task not in family.tasks:
            able = ", ".join(families_for(task)) or "none here"
            raise RequestError(
                f"layer pairs need {str(task)!r} (given -> wanted), which {family.name!r} cannot "
                f"do; families that can: {able}"
            )


def needed_tasks(config: PairConfig) -> tuple[Task, ...]:
    return (FOREGROUND, AROUND if config.road == "planes" else FLAT)


def make_pair(family: Family, prompt: ScenePrompt, seed: int, config: PairConfig) -> LayerPair:
    """The pair of a prompt: same family, prompt, seed and config, same bytes. Raises BrokenSource
    when a foreground is of no use, and what the family raises."""
    if not (prompt.composite and prompt.background):
        raise BrokenSource("a pair needs three prompts: foreground, whole picture, background")
    seeds = [int(each) for each in np.random.SeedSequence(seed).generate_state(4)]
    foreground = make_foreground(family, prompt.foreground, seeds[0], config)
    check_foreground(foreground, config)
    foreground = set_down(foreground, config.scale, seeds[3])
    if config.road == "planes":
        background, whole = make_around(family, foreground, prompt, seeds[1], config)
    else:
        whole = paint_whole(family, foreground, prompt.composite, seeds[1], config)
        behind = prompt.background
        background = paint_background(family, foreground, whole, behind, seeds[2], config)
    return LayerPair(prompt, seed, foreground, background[..., :3], whole[..., :3])


def make_foreground(family: Family, prompt: str, seed: int, config: PairConfig) -> Bytes:
    """(H, W, 4) uint8 straight: one transparent picture."""
    wanted = _request(family, seed, config, config.size, foregrounds=(Plane(True, prompt),))
    return to_u8(run_request(family, wanted).foregrounds[0])


def check_foreground(foreground: Bytes, config: PairConfig) -> None:
    """Raises BrokenSource when hardly a pixel is visible, or hardly one is transparent."""
    alpha = to_float(foreground[..., 3])
    solid, clear = float((alpha >= config.solid).mean()), float((alpha <= config.clear).mean())
    if solid < config.least_solid:
        raise BrokenSource(f"nothing visible: {solid:.1%} of the foreground is solid")
    if clear < config.least_clear:
        raise BrokenSource(f"no transparency: {clear:.1%} of the foreground is clear")


def set_down(foreground: Bytes, scale: tuple[float, float], seed: int) -> Bytes:
    """The foreground's plane at a size drawn from `scale`, its foot kept near the lower border,
    moved sideways by chance; untouched at scale 1."""
    rng = np.random.default_rng(seed)
    share = float(rng.uniform(*scale))
    height, width = foreground.shape[:2]
    small_size = max(1, round(width * share)), max(1, round(height * share))
    if small_size == (width, height):
        return foreground
    small = resize(foreground, small_size, "area")
    left = int(rng.integers(0, width - small_size[0] + 1))
    top = height - small_size[1] - int(rng.integers(0, (height - small_size[1]) // 3 + 1))
    plane = np.zeros_like(foreground)
    plane[top : top + small_size[1], left : left + small_size[0]] = small
    return plane


def paint_whole(
    family: Family, foreground: Bytes, prompt: str, seed: int, config: PairConfig
) -> Bytes:
    """(H, W, 4) uint8 opaque: the whole picture, painted wherever alpha < 1."""
    kept = to_float(foreground[..., 3]) >= config.solid
    start = np.full(foreground.shape, GREY, np.float32)
    start[..., 3] = 1
    start = to_u8(over(to_float(foreground), start))
    start[kept] = foreground[kept]
    start[..., 3] = 255
    plane = Plane(True, prompt, start, coverage(kept))
    return _flat(family, seed, config, composite=plane)


def paint_background(
    family: Family, foreground: Bytes, whole: Bytes, prompt: str, seed: int, config: PairConfig
) -> Bytes:
    """(H, W, 4) uint8 opaque: the whole picture with the object's place painted anew.

    Raises BrokenSource when the eroded surroundings hold not one pixel to go by."""
    kept = eroded(to_float(foreground[..., 3]) <= config.clear, config.erode)
    if not kept.any():
        raise BrokenSource(
            f"no surroundings: nothing is left after eroding them by {config.erode} px"
        )
    return _flat(family, seed, config, composite=Plane(True, prompt, whole, coverage(kept)))


def make_around(
    family: Family, foreground: Bytes, prompt: ScenePrompt, seed: int, config: PairConfig
) -> tuple[Bytes, Bytes]:
    """(background, whole), each (H, W, 4) uint8 opaque, made together for a given foreground."""
    request = _request(
        family,
        seed,
        config,
        None,
        foregrounds=(Plane(pixels=foreground),),
        background=Plane(True, prompt.background),
        composite=Plane(True, prompt.composite),
    )
    background = run_request(family, request).background
    assert background is not None
    whole = over(to_float(foreground), to_float(background))
    return to_u8(background), to_u8(whole)


def eroded(kept: NDArray[np.bool_], pixels: int) -> NDArray[np.bool_]:
    """(H, W): true where everything within `pixels` rows and columns is true. The canvas border
    takes nothing away."""
    lost = ~kept
    for axis in (0, 1):
        grown = lost.copy()
        for step in range(1, min(pixels, lost.shape[axis] - 1) + 1):
            ahead, behind = [slice(None)] * 2, [slice(None)] * 2
            ahead[axis], behind[axis] = slice(step, None), slice(None, -step)
            grown[tuple(ahead)] |= lost[tuple(behind)]
            grown[tuple(behind)] |= lost[tuple(ahead)]
        lost = grown
    return ~lost


def coverage(mask: NDArray[np.bool_]) -> Bytes:
    """A keep mask as stored coverage."""
    return np.where(mask, np.uint8(255), np.uint8(0))


def _flat(family: Family, seed: int, config: PairConfig, composite: Plane) -> Bytes:
    picture = run_request(family, _request(family, seed, config, None, composite=composite))
    assert picture.composite is not None
    return to_u8(picture.composite)


def _request(
    family: Family, seed: int, config: PairConfig, size: tuple[int, int] | None, **planes: Any
) -> LayerRequest:
    return LayerRequest(
        size=size,
        seed=seed,
        steps=config.steps,
        guidance=config.guidance,
        model=family.name,
        **planes,
    )


def judged(pair: LayerPair, scores: tuple[Score, ...]) -> LayerPair:
    """The pair with its figures. Raises BrokenSource below a score's `least`."""
    found: dict[str, float] = {}
    for score in scores:
        value = found[score.name] = float(score.judge(pair))
        if score.least is not None and not value >= score.least:
            raise BrokenSource(f"{score.name} {value:.4g} is below {score.least:g}")
    return LayerPair(
        pair.prompt, pair.seed, pair.foreground, pair.background, pair.composite, found
    )


def pair_members(pair: LayerPair, key: str, about: Mapping[str, Any]) -> list[Member]:
    """The members of a pair's sample, as scene shards have them. about: the model that made it."""
    prompt = pair.prompt
    words = {
        "key": key,
        "kind": "scene",
        "split": "train",
        "caption": prompt.composite,
        "foreground": prompt.foreground,
        "background": prompt.background,
        "concept": prompt.concept,
        "root": prompt.root,
        "foreground_captions": [prompt.foreground],
        "background_captions": [prompt.background],
        "earlier": [],
        "seed": pair.seed,
        "size": pair.composite.shape[1::-1],
        "scores": dict(pair.scores),
        "disagreement": disagreement(pair.foreground, pair.background, pair.composite),
        "made": dict(about),
    }
    return [
        ("json", json.dumps(words, ensure_ascii=False).encode()),
        ("composite.png", png(pair.composite)),
        ("background.png", png(pair.background)),
        ("foreground.png", png(pair.foreground)),
    ]
