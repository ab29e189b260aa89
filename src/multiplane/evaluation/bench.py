"""What every part of the suite works with: the model, the data, the judges, and where to write."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from fractions import Fraction
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from multiplane.core.clip import LayerClip
from multiplane.core.document import Layer, LayerDocument
from multiplane.core.family import Family, Progress
from multiplane.core.request import LayerRequest, MadePlanes, Task

if TYPE_CHECKING:
    from multiplane.evaluation.assets import AssetPictures, ReferenceAssets
    from multiplane.evaluation.judges import Features, Segmenter
    from multiplane.evaluation.made import MadeForeground
    from multiplane.evaluation.scenes import HeldoutScene

# (part, done, total) of the pictures a part makes or judges.
Report = Callable[[str, int, int], None]


class Runner(Protocol):
    """What the suite asks of an engine's model."""

    def run(self, request: LayerRequest, progress: Progress | None = None) -> LayerDocument: ...

    def run_clip(self, request: LayerRequest, progress: Progress | None = None) -> LayerClip: ...

    def add(
        self,
        document: LayerDocument,
        prompt: str,
        progress: Progress | None = None,
        **settings: Any,
    ) -> LayerDocument: ...

    def inpaint(
        self,
        document: LayerDocument,
        layer: str | Layer,
        mask: Any,
        prompt: str | None = None,
        progress: Progress | None = None,
        **settings: Any,
    ) -> LayerDocument: ...


class RecordingFamily:
    """A family that remembers what it made last, before the engine reconciles it, and the seconds
    it took in all."""

    def __init__(self, family: Family) -> None:
        self._family = family
        self.made: MadePlanes | None = None
        self.seconds = 0.0
        self.name = family.name
        self.version = family.version
        self.native_size = family.native_size
        self.max_frames: int = getattr(family, "max_frames", 1)
        self.fps: Fraction = getattr(family, "fps", Fraction(8))

    @property
    def tasks(self) -> frozenset[Task]:
        return self._family.tasks

    @property
    def inner(self) -> Family:
        """The family itself."""
        return self._family

    def make(self, request: LayerRequest, progress: Progress | None = None) -> MadePlanes:
        start = time.perf_counter()
        self.made = self._family.make(request, progress)
        self.seconds += time.perf_counter() - start
        return self.made


@dataclass(frozen=True, eq=False)
class Judges:
    """The outside networks; each is located when a part first asks for it."""

    threads: int = 0

    @cached_property
    def judge(self) -> Segmenter:
        """ISNet, which judges mattes."""
        from multiplane.evaluation.judges import SalientSegmenter

        return self._remembering(SalientSegmenter.load("isnet", self.threads))

    @cached_property
    def cutter(self) -> Segmenter:
        """U2-Net, which cuts the baseline's mattes."""
        from multiplane.evaluation.judges import SalientSegmenter

        return self._remembering(SalientSegmenter.load("u2net", self.threads))

    @cached_property
    def features(self) -> Features:
        """EfficientNet-Lite0."""
        from multiplane.evaluation.judges import EfficientNetFeatures
        from multiplane.weights.sources import locate

        return EfficientNetFeatures(_only(locate("efficientnet-lite0"), "*.pth"))

    def _remembering(self, segmenter: Segmenter) -> Segmenter:
        from multiplane.evaluation.remember import RememberingSegmenter
        from multiplane.weights.fetch import cache_folder

        return RememberingSegmenter(segmenter, cache_folder() / "judged")


def _only(folder: Path, pattern: str) -> Path:
    found = sorted(folder.rglob(pattern))
    if len(found) != 1:
        raise FileNotFoundError(f"expected one {pattern} in {folder}, found {len(found)}")
    return found[0]


@dataclass(frozen=True, eq=False)
class Bench:
    """family: the recorder that `model` runs. shards: what `multiplane data build` wrote (assets/
    and scenes/). limit: at most this many pictures a part; None: each part's own number. options:
    steps and guidance for every request, where the family's own are not wanted. weights: a digest
    of the weights, so that figures of others are never taken for theirs. weights_bytes: size of
    their folder. made: the foregrounds of this run, see `made_foreground`; a bench with anything
    replaced begins with none."""

    model: Runner
    family: RecordingFamily
    shards: Path
    out: Path
    judges: Judges = field(default_factory=Judges)
    limit: int | None = None
    seed: int = 0
    options: dict[str, Any] = field(default_factory=dict)
    weights: str = ""
    weights_bytes: int | None = None
    report: Report = lambda part, done, total: None
    made: dict[tuple[str, str], MadeForeground] = field(default_factory=dict, init=False)

    @property
    def side(self) -> int:
        """Pixels a side of every picture of the suite: the family's own size."""
        return min(self.family.native_size)

    def count(self, own: int) -> int:
        """A part's number of pictures under the limit."""
        return own if self.limit is None else min(own, self.limit)

    def scenes(self, own: int, clear: bool = False) -> list[HeldoutScene]:
        """The first held-out scenes, at the family's size. clear: only those whose background holds
        no objects of its own."""
        from multiplane.evaluation.scenes import read_scenes

        found = read_scenes(self.shards / "scenes", self.side)
        fitting = [scene for scene in found if not (clear and scene.crowded)]
        return fitting[: self.count(own)]

    @cached_property
    def pictures(self) -> AssetPictures:
        """Real assets."""
        from multiplane.evaluation.assets import AssetPictures

        return AssetPictures(self.shards / "assets", self.side)

    @cached_property
    def assets(self) -> ReferenceAssets:
        """Real assets and the gallery with their feature vectors."""
        from multiplane.evaluation.assets import ReferenceAssets

        return ReferenceAssets(self.pictures, self.judges.features)

    def seed_for(self, *names: str | int) -> int:
        """A seed for one picture, fixed by what it is and by the suite's seed."""
        text = "/".join(map(str, (self.seed, *names)))
        return int.from_bytes(hashlib.sha256(text.encode()).digest()[:6], "big")

    def run(self, request: LayerRequest) -> tuple[LayerDocument, MadePlanes, float]:
        """(document, the planes before reconciliation, seconds), with `options` laid on top."""
        start = time.perf_counter()
        document = self.model.run(replace(request, **self.options))
        seconds = time.perf_counter() - start
        if self.family.made is None:
            raise RuntimeError("the model ran without its family making anything")
        return document, self.family.made, seconds


def weights_digest(family: Family) -> str:
    """A digest of the parameters of a family's networks, so that a retrained model is a new one;
    its version where it holds no pipeline of torch networks."""
    digest = hashlib.sha256(f"{family.name} {family.version}".encode())
    pipeline: Any = getattr(family, "pipeline", None)
    parts: dict[str, Any] = {} if pipeline is None else vars(pipeline)
    for name, part in sorted(parts.items()):
        if hasattr(part, "state_dict"):
            digest.update(name.encode())
            for tensor in part.state_dict().values():
                digest.update(tensor.detach().float().cpu().numpy().tobytes())
    return digest.hexdigest()[:16]


def summary(values: list[float] | np.ndarray) -> dict[str, float]:
    """mean, median, spread, least and most of some figures; empty where there are none."""
    array = np.asarray([value for value in values if value is not None], dtype=np.float64)
    if array.size == 0:
        return {}
    return {
        "mean": float(array.mean()),
        "median": float(np.median(array)),
        "std": float(array.std()),
        "min": float(array.min()),
        "max": float(array.max()),
        "n": int(array.size),
    }
