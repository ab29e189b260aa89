"""Held-out scenes with exact truth, and the request each row of the task table makes of one."""

from __future__ import annotations

import io
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from multiplane.core.request import Control, LayerRequest, Plane, Task
from multiplane.data.assets import shard_paths
from multiplane.data.shards import read_shard

Picture = NDArray[np.uint8]  # (H, W, 4) straight alpha


@dataclass(frozen=True, eq=False)
class HeldoutScene:
    """composite = over(foreground, background). prompts: of "foreground" and "background"; the
    composite's own is used only where nothing else is there. crowded: the background already holds
    objects of its own."""

    key: str
    foreground: Picture
    background: Picture
    composite: Picture
    prompts: dict[str, str]
    concept: str
    crowded: bool

    @property
    def size(self) -> tuple[int, int]:
        """(width, height)."""
        return self.composite.shape[1], self.composite.shape[0]

    def plane(self, kind: str) -> Picture:
        return {
            "foreground": self.foreground,
            "background": self.background,
            "composite": self.composite,
        }[kind]


def read_scenes(folder: Path, side: int) -> list[HeldoutScene]:
    """The scenes of `folder` at side x side pixels, resized from the nearest larger size there is
    (the largest when none is). Raises FileNotFoundError without shards."""
    paths = {_side_of(path): path for path in shard_paths(folder, ("scene",), "heldout")}
    larger = [size for size in paths if size >= side]
    path = paths[min(larger) if larger else max(paths)]
    return [_scene(key, members, side) for key, members in read_shard(path)]


def _side_of(path: Path) -> int:
    return int(json.loads(path.with_name(f"{path.name}.json").read_text("utf-8"))["about"]["size"])


def _scene(key: str, members: dict[str, bytes], side: int) -> HeldoutScene:
    about: dict[str, Any] = json.loads(members["json"])
    planes = {kind: _decoded(members[f"{kind}.png"], side) for kind in _KINDS}
    prompts = {kind: about[kind] for kind in ("foreground", "background")}
    return HeldoutScene(
        key=key,
        **planes,
        prompts={**prompts, "composite": joint_prompt(**prompts)},
        concept=about["concept"],
        crowded=bool(about["earlier"]),
    )


_KINDS = ("foreground", "background", "composite")


def _decoded(data: bytes, side: int) -> Picture:
    pixels = np.asarray(Image.open(io.BytesIO(data)).convert("RGBA"))
    if pixels.shape[:2] == (side, side):
        return pixels
    from multiplane.core.pixels import resize

    return resize(pixels, (side, side), "area" if pixels.shape[0] > side else "lanczos")


def joint_prompt(foreground: str, background: str) -> str:
    """What a flat picture of both is asked for with: one sentence, as in training."""
    return f"{foreground} in {background}"


def request_for(
    scene: HeldoutScene,
    task: Task,
    seed: int,
    model: str,
    controls: tuple[Control, ...] = (),
) -> LayerRequest:
    """The scene as this row of the task table: planes given from the truth or wanted by prompt."""

    def plane(kind: str) -> Plane:
        if kind in task.given:
            return Plane(pixels=scene.plane(kind))
        if kind not in task.wanted:
            return Plane()
        alone = task.given | task.wanted == {"composite"}
        prompt = scene.prompts[kind] if kind != "composite" or alone else ""
        return Plane(wanted=True, prompt=prompt)

    foreground = plane("foreground")
    return LayerRequest(
        foregrounds=() if foreground.state == "absent" else (foreground,),
        background=plane("background"),
        composite=plane("composite"),
        size=scene.size,
        seed=seed,
        model=model,
        controls=controls,
    )
