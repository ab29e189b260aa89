"""Human-in-the-loop rounds: a model makes pictures, a person picks, the picked are trained on.

LayerDiffuse grew its set of transparent pictures like this (Zhang and Agrawala 2024, section 3):
25 rounds of 10,000 pictures, 1,000 picked in each, the new ones drawn twice as often in the next.

A folder holds the rounds: `round-000/plan.json` (every picture that will be made, fixed when the
round begins), `pictures/KEY.png` beside `KEY.json`, `labels.jsonl`, `picked.json` once the round is
closed, and `assets/`, the set to train on next. Each step does only what is missing.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from multiplane.core.config import from_table
from multiplane.core.family import Family
from multiplane.core.pixels import to_u8
from multiplane.core.request import LayerRequest, Plane
from multiplane.data.labels import Label
from multiplane.data.pictures import png
from multiplane.data.prompt_lists import ScenePrompt, concepts_in_turn
from multiplane.data.shards import write_json
from multiplane.engine.generate import run_request
from multiplane.io.atomic import write_bytes

# (pictures there, pictures in all, key of the one at hand)
RoundProgress = Callable[[int, int, str], None]


@dataclass(frozen=True)
class RoundSettings:
    """How the pictures of a round are made. prompts: where they come from, in words. weights: a
    path, "" for the family's own. base: the asset shards the picked ones join, "" for none. style:
    the drawing style they are filed under."""

    count: int
    prompts: str
    model: str = "tiny"
    weights: str = ""
    seed: int = 0
    size: tuple[int, int] | None = None
    steps: int | None = None
    guidance: float | None = None
    base: str = ""
    style: str = "own"

    def __post_init__(self) -> None:
        if self.count < 1:
            raise ValueError(f"a round needs at least one picture, got {self.count}")


@dataclass(frozen=True)
class PlannedPicture:
    """One picture of a round, whether it is made yet or not."""

    key: str
    prompt: str
    concept: str
    root: str
    seed: int


@dataclass(frozen=True)
class Round:
    """One round. folder: where it lies."""

    number: int
    folder: Path
    settings: RoundSettings
    pictures: tuple[PlannedPicture, ...]

    @property
    def pictures_folder(self) -> Path:
        return self.folder / "pictures"

    @property
    def labels(self) -> Path:
        return self.folder / "labels.jsonl"

    @property
    def assets(self) -> Path:
        return self.folder / "assets"

    def picture(self, planned: PlannedPicture) -> Path:
        return self.pictures_folder / f"{planned.key}.png"

    def missing(self) -> list[PlannedPicture]:
        """What is not made yet."""
        return [planned for planned in self.pictures if not self.picture(planned).exists()]

    def picked(self) -> dict[str, str] | None:
        """key -> its answer ("good": picked) of every decided picture, or None while it is open."""
        path = self.folder / "picked.json"
        return json.loads(path.read_text("utf-8"))["answers"] if path.exists() else None


def rounds_in(folder: Path) -> list[Round]:
    """Every round of a folder, first to last."""
    return [_read_round(path) for path in sorted(folder.glob("round-*/plan.json"))]


def _read_round(path: Path) -> Round:
    try:
        plan = json.loads(path.read_text("utf-8"))
        settings = from_table(RoundSettings, plan["settings"], str(path))
        pictures = tuple(PlannedPicture(**each) for each in plan["pictures"])
        return Round(plan["round"], path.parent, settings, pictures)
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{path} is no plan of a round: {error}") from error


def begin_round(
    folder: Path,
    settings: RoundSettings,
    prompts: Iterable[ScenePrompt],
    heldout: frozenset[str] = frozenset(),
) -> Round:
    """Plan the next round of a folder. heldout: roots of concepts kept for evaluation: prompts of
    these are left out, or the model would be trained on what it is judged by.

    Raises ValueError while the last round is open, or when no prompt is left."""
    earlier = rounds_in(folder)
    if earlier and earlier[-1].picked() is None:
        raise ValueError(f"{earlier[-1].folder} is still open: close it before the next")
    number = len(earlier)
    kept = [prompt for prompt in prompts if prompt.root not in heldout]
    turns = concepts_in_turn(kept, settings.seed + number)
    pictures = tuple(
        PlannedPicture(
            key=f"r{number:03d}-{index:05d}",
            prompt=prompt.foreground,
            concept=prompt.concept,
            root=prompt.root,
            seed=int(np.random.SeedSequence([settings.seed, number, index]).generate_state(1)[0]),
        )
        for index, prompt in zip(range(settings.count), turns, strict=False)
    )
    begun = Round(number, folder / f"round-{number:03d}", settings, pictures)
    plan = {
        "round": number,
        "settings": asdict(settings),
        "pictures": [asdict(each) for each in pictures],
    }
    write_json(begun.folder / "plan.json", plan)
    return begun


def make_pictures(made: Round, family: Family, progress: RoundProgress | None = None) -> None:
    """Make the pictures of a round that are not there; each is whole the moment it is there.

    Raises ValueError when `family` is not the one the round was planned for."""
    settings = made.settings
    if family.name != settings.model:
        raise ValueError(f"round {made.number} is made by {settings.model!r}, not {family.name!r}")
    missing = made.missing()
    for done, planned in enumerate(missing, len(made.pictures) - len(missing)):
        if progress:
            progress(done, len(made.pictures), planned.prompt)
        request = LayerRequest(
            foregrounds=(Plane(True, planned.prompt),),
            size=settings.size,
            seed=planned.seed,
            steps=settings.steps,
            guidance=settings.guidance,
            model=family.name,
        )
        pixels = to_u8(run_request(family, request).foregrounds[0])
        about = {"caption": planned.prompt, **provenance(made, planned, family.version)}
        write_json(made.pictures_folder / f"{planned.key}.json", about)
        write_bytes(made.picture(planned), png(pixels))  # last: it says that the rest is there


def provenance(made: Round, planned: PlannedPicture, version: str) -> dict[str, Any]:
    """Where a picture came from; carried into the shards."""
    return {
        "key": planned.key,
        "prompt": planned.prompt,
        "seed": planned.seed,
        "model": made.settings.model,
        "version": version,
        "weights": made.settings.weights,
        "round": made.number,
        "settings": {
            name: value
            for name, value in asdict(made.settings).items()
            if name in ("size", "steps", "guidance")
        },
    }


def close_round(made: Round, labels: Mapping[str, Label]) -> Round:
    """Fix what was picked. labels: answers to the question "pick"; what has none is not picked.

    Raises ValueError for labels of pictures that are not of this round, or when pictures are
    missing, or for a closed round with other picks."""
    known = {planned.key for planned in made.pictures}
    strange = sorted(set(labels) - known)
    if strange:
        raise ValueError(
            f"{strange[0]!r} is no picture of round {made.number} ({len(strange)} labels are of "
            "none): these labels belong to another folder"
        )
    if missing := made.missing():
        raise ValueError(f"{len(missing)} pictures of round {made.number} are not made yet")
    answers = {key: labels[key].answer for key in sorted(labels)}
    before = made.picked()
    if before is not None and before != answers:
        raise ValueError(
            f"round {made.number} is closed with other picks: begin the next round, or remove "
            f"{made.folder / 'picked.json'} to close it anew"
        )
    picked = sum(answer == "good" for answer in answers.values())
    value = {"round": made.number, "picked": picked, "of": len(made.pictures), "answers": answers}
    write_json(made.folder / "picked.json", value)
    return made


def contradictions(planned: RoundSettings, asked: Mapping[str, Any]) -> list[str]:
    """What was asked for and differs from what the round was planned with, in words."""
    plain = asdict(replace(planned))
    return [
        f"{name} is {plain[name]!r}, not {value!r}"
        for name, value in asked.items()
        if value is not None and plain[name] != value
    ]
