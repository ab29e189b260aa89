"""Clips: from words, with a plane given, from a still, and taken apart."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from multiplane.core.composite import composite_u8
from multiplane.core.pixels import to_float
from multiplane.core.request import LayerRequest, Plane
from multiplane.evaluation.bench import Bench
from multiplane.evaluation.clip_names import clip_vectors, named, staying
from multiplane.evaluation.moving import MovingScene, alpha_flicker, motion, moving_scenes
from multiplane.evaluation.parts.rows import figures_of
from multiplane.evaluation.prompts import FixedPrompt, fixed_prompts
from multiplane.evaluation.recomposition import disagreement
from multiplane.evaluation.sheets import Cell, SheetRow, evenly, save_sheet, table
from multiplane.evaluation.truth import background_errors, foreground_errors
from multiplane.io.clips import read_clip, write_clip

PART = "clips"
PROMPTS = {"train": 8, "heldout": 4, "combined": 4}
FRAMES = 16
SCENES = 6
SHOWN = 8  # frames of a strip
WANTED = Plane(wanted=True)
ROWS = ("composite", "background", "foreground")  # what is given, beside prompts and stills


def run(bench: Bench) -> dict[str, Any]:
    """Make and measure clips; nothing where the weights make stills."""
    frames = min(FRAMES, bench.family.max_frames)
    if frames < 3:
        return {"frames": frames}
    chosen = [prompt for prompt in fixed_prompts() if prompt.number < PROMPTS.get(prompt.set, 0)]
    chosen = chosen[: bench.count(len(chosen))]
    scenes = moving_scenes(
        bench.shards / "assets", bench.side, frames, bench.count(SCENES), bench.seed + 1
    )
    total, done = len(chosen) + len(scenes) * (len(ROWS) + 1), 0
    figures: dict[str, Any] = {"frames": frames, "real": _real(bench, scenes)}
    words, fronts = [], []
    strips: list[SheetRow] = []
    for prompt in chosen:
        bench.report(PART, done, total)
        done += 1
        made, found = _from_words(bench, prompt, frames)
        words.append(found)
        fronts.append(made["foreground"])
        strips += _strips(made, f"{prompt.foreground}, {prompt.background}")
    vectors = clip_vectors(fronts, bench.judges.features)
    figures["from words"] = {
        **figures_of(words),
        "named": named(bench.assets, vectors, chosen),
        "likeness": staying(vectors),
    }
    title = "Clips from words: composite and foreground"
    save_sheet(table(strips, title, _note(bench, frames), 96), bench.out / f"{PART}.png")
    for given in (*ROWS, "still"):
        results, lines = [], []
        for scene in scenes:
            bench.report(PART, done, total)
            done += 1
            made, found = _of_scene(bench, scene, given)
            results.append(found)
            lines += _compared(scene, made, given)
        figures[f"{given} given"] = figures_of(results)
        title = f"Clips, {given} given"
        save_sheet(table(lines, title, _note(bench, frames), 96), bench.out / f"{PART}-{given}.png")
    bench.report(PART, total, total)
    return figures


def _note(bench: Bench, frames: int) -> str:
    return (
        f"{frames} frames at {float(bench.family.fps):g} a second, {min(SHOWN, frames)} of them "
        "shown. Prompts and scenes drawn by seed, one seed each, nothing picked."
    )


def _made(bench: Bench, request: LayerRequest) -> tuple[dict[str, NDArray[Any]], dict[str, Any]]:
    """The planes of a clip as the files hold them (F, H, W, 4), and what is told of every clip: how
    far the model's own planes are from adding up, and how far the written ones."""
    started = time.perf_counter()
    clip = bench.model.run_clip(request)
    seconds = time.perf_counter() - started
    with tempfile.TemporaryDirectory() as scratch:
        write_clip(clip, Path(scratch) / "layers")
        stored = list(read_clip(Path(scratch) / "layers"))
    composite = np.stack([composite_u8(frame) for frame in stored])
    planes = {"composite": composite}
    for index, layer in enumerate(stored[0].leaves()):
        name = layer.role or layer.name
        planes[name] = np.stack([frame.leaves()[index].pixels for frame in stored])
    own = bench.family.made
    assert own is not None
    found: dict[str, Any] = {"seconds": seconds}
    wanted = own.composite if request.composite.pixels is None else request.composite.pixels
    if wanted is not None and own.background is not None and own.foregrounds:
        parts = zip(wanted, own.foregrounds[0], own.background, strict=True)
        found["before, psnr"] = float(np.mean([disagreement(*each).psnr for each in parts]))
    if request.composite.state == "given":
        assert request.composite.pixels is not None
        apart = composite.astype(np.int16) - request.composite.pixels.astype(np.int16)
        found["to the given composite, 255ths"] = float(np.abs(apart).max())
    for name in ("foreground", "background"):
        found[f"motion of the {name}"] = motion(planes[name])
    found["alpha flicker"] = alpha_flicker(planes["foreground"])
    return planes, found


def _from_words(
    bench: Bench, prompt: FixedPrompt, frames: int
) -> tuple[dict[str, NDArray[Any]], dict[str, Any]]:
    request = LayerRequest(
        (Plane(wanted=True, prompt=prompt.foreground),),
        Plane(wanted=True, prompt=prompt.background),
        WANTED,
        size=(bench.side, bench.side),
        frames=frames,
        seed=bench.seed_for(PART, prompt.name),
        model=bench.family.name,
        **bench.options,
    )
    return _made(bench, request)


def _of_scene(
    bench: Bench, scene: MovingScene, given: str
) -> tuple[dict[str, NDArray[Any]], dict[str, Any]]:
    """A clip with one plane of a true one given, or all of them in their first frame."""
    planes = {name: Plane(wanted=True, prompt=scene.prompts.get(name, "")) for name in scene.planes}
    for name, pixels in scene.planes.items():
        if name == given:
            planes[name] = Plane(pixels=pixels)
        elif given == "still" and name != "composite":
            planes[name] = Plane(wanted=True, prompt=planes[name].prompt, pixels=pixels[0])
    request = LayerRequest(
        (planes["foreground"],),
        planes["background"],
        planes["composite"],
        size=(bench.side, bench.side),
        frames=len(scene.planes["composite"]),
        seed=bench.seed_for(PART, given, scene.key),
        model=bench.family.name,
        **bench.options,
    )
    made, found = _made(bench, request)
    if given == "composite":
        true = scene.planes
        fronts = zip(made["foreground"], true["foreground"], strict=True)
        backs = zip(made["background"], true["background"], true["foreground"][..., 3], strict=True)
        found["foreground"] = _mean([foreground_errors(*each) for each in fronts])
        found["background"] = _mean([background_errors(*each) for each in backs])
    elif given == "still":
        found["first frames unchanged"] = float(
            all(
                np.array_equal(_shown(made[name][0]), _shown(scene.planes[name][0]))
                for name in ("foreground", "background")
            )
        )
    else:
        found["given frames unchanged"] = float(
            np.array_equal(_shown(made[given]), _shown(scene.planes[given]))
        )
    return made, found


def _shown(pixels: NDArray[Any]) -> NDArray[Any]:
    """The colour of clear pixels is of no account."""
    return np.where(pixels[..., 3:] == 0, 0, pixels)


def _real(bench: Bench, scenes: Sequence[MovingScene]) -> dict[str, Any]:
    """The measures of true clips, to read the others by."""
    fronts = [scene.planes["foreground"] for scene in scenes]
    figures = figures_of(
        [
            {
                "motion of the foreground": motion(scene.planes["foreground"]),
                "motion of the background": motion(scene.planes["background"]),
                "alpha flicker": alpha_flicker(scene.planes["foreground"]),
            }
            for scene in scenes
        ]
    )
    return {**figures, "likeness": staying(clip_vectors(fronts, bench.judges.features))}


def _mean(results: Sequence[dict[str, float]]) -> dict[str, float]:
    names = dict.fromkeys(name for result in results for name in result)
    return {
        name: float(np.mean([result[name] for result in results if name in result]))
        for name in names
    }


def _strips(made: dict[str, NDArray[Any]], label: str) -> list[SheetRow]:
    return [
        SheetRow(label if name == "composite" else "", _cells(made[name]))
        for name in ("composite", "foreground")
    ]


def _cells(clip: NDArray[Any]) -> list[Cell]:
    return [Cell(to_float(clip[index])) for index in evenly(len(clip), SHOWN)]


def _compared(scene: MovingScene, made: dict[str, NDArray[Any]], given: str) -> list[SheetRow]:
    """What was given, and what was made for it."""
    names = [name for name in ("foreground", "background") if name != given]
    if given != "composite":
        names = ["composite", "foreground"]
    first = scene.planes["composite" if given == "still" else given]
    if given == "still":
        first = first[:1]
    label = ", ".join(scene.prompts.values())
    lines = [SheetRow(label, _cells(first))]
    return lines + [SheetRow("", _cells(made[name])) for name in names]
