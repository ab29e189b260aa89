"""Eighty-nine pictures for a trial of `multiplane data layer-photos`, what became of them, a sheet.

    python benchmarks/layer_photos.py pictures IN
    multiplane data layer-photos IN -o OUT --keep-all
    python benchmarks/layer_photos.py figures IN OUT [--second u2net]
    python benchmarks/layer_photos.py sheet OUT docs/images/layer-photos.webp

Four groups, each picture with its caption, none left out: photographs from packages; those of
`multiplane data photographs`, from which the mask classifier has learned; photographic cut-outs on
landscapes; and landscapes with nothing in front, of which no layer is right. What is good was
judged by eye for photographs (layer_photos_seen.tsv); of the others the truth is known.
"""

from __future__ import annotations

import argparse
import io
import json
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from multiplane.core.pixels import resize_channels, to_float
from multiplane.data.layer_photos.examples import GOOD_ERROR, GOOD_IOU
from multiplane.data.layer_photos.steps import read_layers
from multiplane.data.photographs import Photograph, photograph_bytes
from multiplane.data.photographs import read_table as read_given_away
from multiplane.data.pictures import open_picture
from multiplane.data.shards import read_shard
from multiplane.evaluation.cutout_scenes import CutoutScene, SceneStock, shipped_recipe
from multiplane.evaluation.sheets import Cell, SheetRow, table
from multiplane.io.atomic import replacing
from multiplane.pipelines.cutout.candidates import iou
from multiplane.pipelines.cutout.matte import SalientMatte
from multiplane.training.one_neuron import roc_auc
from multiplane.weights.sources import locate
from photos import photographs

GROUPS = {  # by the letters their names begin with
    "ab": "photographs",
    "c": "photographs learned from",
    "d": "cut-outs on landscapes",
    "e": "landscapes alone",
}
NOT_SHOWN = "b"  # share-alike: tried, but not on the sheet
QUESTIONS = ("mask", "completion")
AGREEMENTS = (0.75, 0.85, 0.9)
TABLE = Path(__file__).with_suffix(".tsv")
SEEN = TABLE.with_name("layer_photos_seen.tsv")
OPENCV = {
    "apple": "a red apple",
    "building": "an office building",
    "butterfly": "a black and white butterfly on a leaf",
    "chicky_512": "a dog with an open mouth",
    "home": "a yellow palace under a blue sky",
    "orange": "an orange",
    "stuff": "small things on a table",
}
CUTOUTS, LANDSCAPES = 18, 8
TRUTH = ".truth"  # hidden: the pipeline does not list what is in it
LONGEST = 1024
COLUMNS, SIDE, SHORT = 4, 116, 16  # SHORT: letters of a name
GROUND = np.array([0.16, 0.62, 0.32], np.float32)  # what foregrounds are shown on


def pictures() -> Iterator[tuple[str, str, Image.Image]]:
    """(name, caption, picture) of every photograph; names begin with the letter of their group."""
    given_away = read_given_away()
    for path in photographs():
        if path.name not in {each.name for each in given_away}:
            yield f"a-{path.stem}", path.stem.replace("_", " "), Image.open(path)
    samples = locate("opencv-photos") / "usr/share/doc/opencv-doc/examples/data"
    for stem, caption in OPENCV.items():
        (path,) = samples.glob(f"{stem}.*")
        yield f"a-{stem}", caption, Image.open(path)
    for each, data in photograph_bytes([Photograph(*row) for row in _rows(TABLE)]):
        group = "b" if "-SA-" in each.licence else "a"
        yield f"{group}-{Path(each.name).stem}", each.caption, Image.open(io.BytesIO(data))
    for each, data in photograph_bytes(given_away):
        yield f"c-{Path(each.name).stem}", each.caption, Image.open(io.BytesIO(data))


def _rows(path: Path) -> list[list[str]]:
    lines = path.read_text("utf-8").splitlines()
    return [line.split("|") for line in lines if line and not line.startswith("#")]


def write_pictures(folder: Path) -> None:
    (folder / TRUTH).mkdir(parents=True, exist_ok=True)
    for name, caption, picture in pictures():
        _write(folder, name, caption, picture.convert("RGB"))
    stock = SceneStock(replace(shipped_recipe(), photographs=CUTOUTS, renders=0))
    for scene in stock.scenes():
        name = f"d-{scene.key}"
        _write(folder, name, scene.caption, Image.fromarray(scene.composite))
        _write_truth(folder / TRUTH, name, scene)
    plates = stock.plates[:: len(stock.plates) // LANDSCAPES][:LANDSCAPES]
    for number, plate in enumerate(plates):
        _write(folder, f"e-{number}-{plate.root}", plate.caption, open_picture(plate.path, "RGB"))


def _write(folder: Path, name: str, caption: str, picture: Image.Image) -> None:
    picture.thumbnail((LONGEST, LONGEST))
    picture.save(folder / f"{name}.png")
    (folder / f"{name}.txt").write_text(caption + "\n", "utf-8")


def _write_truth(folder: Path, name: str, scene: CutoutScene) -> None:
    Image.fromarray(scene.foreground[..., 3]).save(folder / f"{name}.mask.png")
    Image.fromarray(scene.background).save(folder / f"{name}.background.png")


@dataclass(frozen=True, eq=False)
class Made:
    """A finished record. good: of mask and completion, None where nobody could say."""

    name: str
    about: dict[str, Any]
    members: dict[str, bytes]
    good: tuple[bool | None, bool | None] = (None, None)

    def passes(self, question: str) -> bool:
        return f"{question} score" not in self.about.get("reason", "")


def records(out: Path) -> Iterator[Made]:
    for tar in sorted(out.glob("*.tar")):
        for _, members in read_shard(tar):
            about = json.loads(members["json"])
            yield Made(Path(about["source"]).stem, about, members)


def judged(made: Made, folder: Path, seen: dict[str, list[str]]) -> Made:
    """The record with what is good of it. folder: of the pictures. seen: what the eye says."""
    if made.name.startswith("e"):
        return replace(made, good=(False, False))
    if made.name in seen:
        mask, completion = ({"good": True, "bad": False}.get(word) for word in seen[made.name])
        return replace(made, good=(mask, completion))
    path = folder / TRUTH / f"{made.name}.mask.png"
    if not path.exists():
        return made
    picture, mask, background = read_layers(made.members)
    true_mask = _fitted(path, picture.shape)
    true_background = _fitted(path.with_name(f"{made.name}.background.png"), picture.shape)
    off = np.abs(background - true_background)[true_mask > 0.5].mean()
    return replace(made, good=(iou(mask, true_mask) >= GOOD_IOU, float(off) <= GOOD_ERROR))


def _fitted(path: Path, shape: tuple[int, ...]) -> NDArray[np.float32]:
    pixels = to_float(np.asarray(Image.open(path)))
    planes = pixels if pixels.ndim == 3 else pixels[..., None]
    small = resize_channels(planes, (shape[1], shape[0]), "area")
    return small if pixels.ndim == 3 else small.reshape(shape[:2])


def figures(folder: Path, out: Path, second: str = "") -> dict[str, Any]:
    """What became of the pictures, by group. second: a network whose agreement is measured, as
    another way to tell good masks."""
    seen = {name: words for name, *words in _rows(SEEN)}
    made = [judged(each, folder, seen) for each in records(out)]
    skipped = json.loads((out / "manifest.json").read_text("utf-8"))["skipped"]
    report: dict[str, Any] = {}
    for letters, group in GROUPS.items():
        of_group = [each for each in made if each.name[0] in letters]
        reasons = [note["reason"] for note in skipped if note["reason"][0] in letters]
        report[group] = {
            "pictures": len(of_group) + len(reasons),
            "left out": dict(Counter(_kind(reason) for reason in reasons)),
            "made": len(of_group),
            "kept": sum(each.about["kept"] for each in of_group),
            **{question: _passed(of_group, place) for place, question in enumerate(QUESTIONS)},
        }
    if second:
        matte = SalientMatte.load(second, threads=1)
        agreed = {each.name: _agreement(each, matte) for each in made}
        for letters in ("ab", "c", "d"):
            part = [each for each in made if each.name[0] in letters]
            report[GROUPS[letters]][f"mask agrees with {second}"] = _agreeing(part, agreed)
    return report


def _agreement(made: Made, matte: SalientMatte) -> float:
    picture, mask, _ = read_layers(made.members)
    return iou(mask, matte(picture))


def _agreeing(made: list[Made], agreed: dict[str, float]) -> dict[str, Any]:
    known = [each for each in made if each.good[0] is not None]
    good = np.array([each.good[0] for each in known], bool)
    overlaps = np.array([agreed[each.name] for each in known])
    return {
        "auc": round(roc_auc(overlaps, good), 3),
        **{
            f"by {least} at least": {
                "pass": int((overlaps >= least).sum()),
                "good": int((good & (overlaps >= least)).sum()),
            }
            for least in AGREEMENTS
        },
    }


def _passed(made: list[Made], place: int) -> dict[str, Any]:
    """Counts of one question; good and bad as far as known."""
    question = QUESTIONS[place]
    known = [each for each in made if each.good[place] is not None]
    good = np.array([each.good[place] for each in known], bool)
    passing = np.array([each.passes(question) for each in known], bool)
    told: dict[str, Any] = {
        "pass": sum(each.passes(question) for each in made),
        "known": len(known),
        "good": int(good.sum()),
        "good that pass": int((good & passing).sum()),
        "bad that pass": int((~good & passing).sum()),
    }
    if 0 < good.sum() < len(known):
        scores = np.array([each.about["scores"][question] for each in known])
        told["auc"] = round(roc_auc(scores, good), 3)
    return told


def _kind(reason: str) -> str:
    """A reason without the picture's name and its numbers."""
    return re.sub(r"\d[\d.]*%?", "N", reason.partition(": ")[2])


def sheet(out: Path, left: int) -> Image.Image:
    """Kept records first, then refused ones, by the lower of both scores; every one of them.
    left: how many pictures the cheap filters left out."""
    found = [each for each in records(out) if not each.name.startswith(NOT_SHOWN)]
    rows: list[SheetRow] = []
    for kept, word in ((True, "kept"), (False, "refused")):
        part = [each for each in found if each.about["kept"] is kept]
        part.sort(key=lambda each: -min(each.about["scores"].values()))
        for start in range(0, len(part), COLUMNS):
            cells = [cell for each in part[start : start + COLUMNS] for cell in _cells(each)]
            rows.append(SheetRow(f"{word}: {len(part)}" if start == 0 else "", cells))
    note = (
        "Picture, foreground on green, background; below them the scores of mask and completion, "
        f"red where one is under its threshold. Left out before by area or subject: {left}. "
        "c: learned from; d: cut-outs on landscapes; e: landscapes alone."
    )
    return table(rows, "Kept and refused by multiplane data layer-photos", note, SIDE)


def _cells(made: Made) -> list[Cell]:
    scores = made.about["scores"]
    picture = _pixels(made.members["composite.png"])
    front = _pixels(made.members["foreground.png"])
    alpha = front[..., 3:]
    return [
        Cell(picture[..., :3], made.name[:SHORT]),
        Cell(front[..., :3] * alpha + GROUND * (1 - alpha), *_told("mask", made, scores["mask"])),
        Cell(
            _pixels(made.members["background.png"])[..., :3],
            *_told("completion", made, scores["completion"]),
        ),
    ]


def _told(question: str, made: Made, score: float) -> tuple[str, bool]:
    return f"{question} {score:.2f}", not made.passes(question)


def _pixels(data: bytes) -> NDArray[np.float32]:
    return to_float(np.asarray(Image.open(io.BytesIO(data)).convert("RGBA")))


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("what", choices=("pictures", "figures", "sheet"))
    parser.add_argument("folders", type=Path, nargs="+", help="as in the commands above")
    parser.add_argument("--second", default="", help="figures: a network that should agree")
    given = parser.parse_args()
    wanted = {"pictures": 1, "figures": 2, "sheet": 2}[given.what]
    if len(given.folders) != wanted:
        parser.error(f"{given.what} takes {wanted} of them")
    first, last = given.folders[0], given.folders[-1]
    if given.what == "pictures":
        write_pictures(first)
    elif given.what == "figures":
        print(json.dumps(figures(first, last, given.second), indent=1))
    else:
        skipped = json.loads((first / "manifest.json").read_text("utf-8"))["skipped"]
        left = sum(not note["reason"].startswith(NOT_SHOWN) for note in skipped)
        with replacing(last) as file:
            sheet(first, left).save(file, format="webp", quality=82, method=6)


if __name__ == "__main__":
    main()
