"""The working folder of footage: what is known of each frame so far, a file a frame, so that a run
that was killed goes on where it was. Every file appears whole or not at all."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from multiplane.core.document import Pixels
from multiplane.core.pixels import Float, to_float, to_u8
from multiplane.io.atomic import replacing, write_bytes
from multiplane.io.file_lock import lock_file
from multiplane.io.png_sequence import Pattern
from multiplane.pipelines.cutout.footage.keys import Place
from multiplane.pipelines.cutout.footage.plates import Plate

FORM = 1  # raise it when what is kept means something else
_HEAD = 1 << 20


def fingerprint(path: Path) -> str:
    """Tells one source from another: names, sizes, times and the first bytes of its files."""
    pattern = Pattern.of(path)
    if pattern is not None:
        files = list(pattern.present().values())
    elif path.is_dir():
        files = sorted(each for each in path.rglob("*") if each.is_file())
    else:
        files = [path]
    digest = hashlib.sha256()
    for file in files:
        facts = file.stat()
        digest.update(f"{file.name} {facts.st_size} {facts.st_mtime_ns}\n".encode())
    with files[0].open("rb") as first:
        digest.update(first.read(_HEAD))
    return digest.hexdigest()


@dataclass(frozen=True, eq=False)
class Look:
    """What the first sweep found in a frame. matte: (H, W) uint8, None where the network did not
    look or saw nothing clear. looked: whether it did look."""

    place: Place
    matte: NDArray[np.uint8] | None
    looked: bool


@dataclass(frozen=True, eq=False)
class Planes:
    """A frame taken apart, settled. foreground, background: (H, W, 4). figures: numbers about it by
    name."""

    foreground: Pixels
    background: Pixels
    figures: Mapping[str, float]


class Workplace:
    """The folder `.NAME.footage` beside the folder NAME that is made.

    Raises BlockingIOError when another run works in it."""

    def __init__(self, output: Path, job: Mapping[str, Any]) -> None:
        self.folder = output.with_name(f".{output.name[:64]}.footage")
        self.folder.mkdir(parents=True, exist_ok=True)
        self._lock = (self.folder / "lock").open("w")
        if not lock_file(self._lock.fileno()):
            raise BlockingIOError(
                f"another run is making {output}: wait for it, or name another folder"
            )
        told = json.dumps({"form": FORM, **job}, sort_keys=True)
        kept = self.folder / "job.json"
        if not kept.exists() or kept.read_text("utf-8") != told:
            self._empty()
            write_bytes(kept, told.encode())
        for name in ("looks", "mattes", "plates", "planes"):
            (self.folder / name).mkdir(exist_ok=True)

    def _empty(self) -> None:
        for each in self.folder.iterdir():
            if each.is_dir():
                shutil.rmtree(each)
            elif each.name != "lock":
                each.unlink()

    def close(self, keep: bool) -> None:
        """Let go of the folder; it is removed unless `keep`."""
        self._lock.close()
        if not keep:
            shutil.rmtree(self.folder, ignore_errors=True)

    def count(self, kind: str) -> int:
        """How many frames of a kind are there without a gap."""
        folder, number = self.folder / kind, 0
        while (folder / f"{number:06d}.npz").exists():
            number += 1
        return number

    def _path(self, kind: str, number: int) -> Path:
        return self.folder / kind / f"{number:06d}.npz"

    def _save(self, kind: str, number: int, **arrays: Any) -> None:
        with replacing(self._path(kind, number)) as temporary, temporary.open("wb") as file:
            np.savez(file, **arrays)

    def save_look(self, number: int, look: Look) -> None:
        place = look.place
        self._save(
            "looks",
            number,
            key=place.key,
            matrix=place.matrix,
            link=np.zeros((0, 0)) if place.link is None else place.link,
            box=np.array(place.box or (), np.int64),
            corners=place.corners,
            matte=_encoded(look.matte),
            looked=look.looked,
        )

    def load_look(self, number: int) -> Look:
        with np.load(self._path("looks", number), allow_pickle=False) as kept:
            box = tuple(int(value) for value in kept["box"])
            place = Place(
                key=int(kept["key"]),
                matrix=kept["matrix"],
                link=kept["link"] if kept["link"].size else None,
                box=box if len(box) == 4 else None,
                corners=int(kept["corners"]),
            )
            return Look(place, _decoded(kept["matte"]), bool(kept["looked"]))

    def save_matte(self, number: int, matte: Float) -> None:
        self._save("mattes", number, matte=_encoded(to_u8(matte)))

    def has_matte(self, number: int) -> bool:
        return self._path("mattes", number).exists()

    def load_matte(self, number: int) -> Float:
        with np.load(self._path("mattes", number), allow_pickle=False) as kept:
            matte = _decoded(kept["matte"])
        assert matte is not None
        return to_float(matte)

    def plate_path(self, key: int) -> Path:
        return self._path("plates", key)

    def load_plate(self, key: int) -> Plate:
        return Plate.load(self.plate_path(key))

    def save_planes(self, number: int, planes: Planes) -> None:
        self._save(
            "planes",
            number,
            foreground=_encoded(planes.foreground),
            background=_encoded(planes.background),
            names=np.array(list(planes.figures)),
            values=np.array(list(planes.figures.values()), np.float64),
        )

    def load_planes(self, number: int) -> Planes:
        with np.load(self._path("planes", number), allow_pickle=False) as kept:
            foreground, background = _decoded(kept["foreground"]), _decoded(kept["background"])
            assert foreground is not None
            assert background is not None
            return Planes(foreground, background, self._figures(kept))

    def load_figures(self, number: int) -> Mapping[str, float]:
        """The figures of a frame without its pixels."""
        with np.load(self._path("planes", number), allow_pickle=False) as kept:
            return self._figures(kept)

    @staticmethod
    def _figures(kept: Mapping[str, Any]) -> dict[str, float]:
        names = (str(name) for name in kept["names"])
        return dict(zip(names, (float(value) for value in kept["values"]), strict=True))


def _encoded(pixels: NDArray[Any] | None) -> NDArray[np.uint8]:
    """(N,): pixels as a lossless picture, made fast; empty for None."""
    import cv2

    if pixels is None:
        return np.zeros(0, np.uint8)
    _, data = cv2.imencode(".png", pixels, [cv2.IMWRITE_PNG_COMPRESSION, 1])
    return np.asarray(data, np.uint8).reshape(-1)


def _decoded(data: NDArray[np.uint8]) -> NDArray[Any] | None:
    import cv2

    if not data.size:
        return None
    return np.asarray(cv2.imdecode(data, cv2.IMREAD_UNCHANGED))
