"""The two filters of Text2Layer in one: which (picture, mask, background) are good enough to train
on.

A classifier folder holds `config.json` (views, thresholds, side of the frozen network) and
`neurons.safetensors`. The one that is in the package reads features of the published
EfficientNet-Lite0, fetched once; a folder may bring its own network as `backbone.safetensors`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any

from multiplane.core.config import from_table
from multiplane.core.pixels import Float
from multiplane.data.build import hash_of
from multiplane.data.shards import write_json
from multiplane.io.atomic import write_bytes
from multiplane.io.checksum import sha256_of
from multiplane.weights.sources import locate

if TYPE_CHECKING:
    from multiplane.models.efficientnet import EfficientNetConfig
    from multiplane.models.quality_classifier import FrozenFeatures, Neuron

EMBEDDED = "embedded"
COMPLETION = "completion"  # the embedded classifiers, the one of completions alone deciding
BACKBONE = "efficientnet-lite0"
QUESTIONS = ("mask", "completion")


@dataclass(frozen=True)
class NeuronNote:
    """What `config.json` says of one neuron; its weights are in `neurons.safetensors`."""

    views: tuple[str, ...]
    threshold: float


@dataclass(frozen=True)
class QualityNote:
    """What `config.json` holds. backbone: "efficientnet-lite0" from its package, or "own" for
    `backbone.safetensors` in the same folder, whose layers `layers` describes."""

    side: int
    mask: NeuronNote
    completion: NeuronNote
    backbone: str = BACKBONE
    layers: Mapping[str, Any] | None = None


@dataclass(frozen=True)
class QualityScores:
    """Probabilities that the mask and the completion are good, and whether both pass."""

    mask: float
    completion: float
    kept: bool
    reason: str = ""

    def report(self) -> dict[str, float]:
        """The figures as plain JSON."""
        return {"mask": self.mask, "completion": self.completion}


class QualityFilter:
    """Scores what the pipeline made. Loads its frozen network when first used.

    quality = QualityFilter.load()
    scores = quality.score(image, mask, background)
    if scores.kept: ...
    """

    def __init__(
        self,
        folder: Path,
        note: QualityNote,
        neurons: Mapping[str, Neuron],
        deciding: Sequence[str] = QUESTIONS,
    ) -> None:
        """deciding: the scores that must pass; the others are told."""
        self.folder, self.note, self.deciding = folder, note, tuple(deciding)
        self.mask, self.completion = neurons["mask"], neurons["completion"]

    @classmethod
    def load(cls, source: str | Path = EMBEDDED) -> QualityFilter:
        """source: "embedded", "completion" or a classifier folder. Raises FileNotFoundError and
        ValueError for a folder that is none, FetchError when the frozen network cannot be had."""
        from safetensors.numpy import load_file

        from multiplane.models.quality_classifier import Neuron

        folder = _folder_of(source)
        note = read_note(folder)
        tensors = load_file(folder / "neurons.safetensors")
        neurons = {
            name: Neuron(
                about.views,
                tensors[f"{name}.weight"],
                float(tensors[f"{name}.bias"]),
                about.threshold,
            )
            for name, about in (("mask", note.mask), ("completion", note.completion))
        }
        found = cls(folder, note, neurons, (COMPLETION,) if source == COMPLETION else QUESTIONS)
        found.check()
        return found

    def check(self) -> None:
        """Loads the frozen network and raises ValueError when a neuron does not fit it."""
        for name in QUESTIONS:
            neuron: Neuron = getattr(self, name)
            wanted = len(neuron.views) * self.features.width
            if neuron.weight.size != wanted:
                raise ValueError(
                    f"{self.folder}: the {name} neuron has {neuron.weight.size} weights, its views "
                    f"give {wanted} features: name a folder of the recipe quality_classifiers"
                )

    @cached_property
    def features(self) -> FrozenFeatures:
        """The frozen network both neurons read."""
        return load_backbone(self.note, self.folder)

    def score(self, image: Float, mask: Float, background: Float) -> QualityScores:
        """image, background: (H, W, 3) sRGB 0..1; mask: (H, W) 0..1; of any size."""
        of_mask = self.features.of_views(image, mask, self.mask.views)
        of_completion = self.features.of_views(background, None, self.completion.views)
        found = {
            "mask": round(float(self.mask(of_mask[None])[0]), 4),
            "completion": round(float(self.completion(of_completion[None])[0]), 4),
        }
        low = [
            f"{name} score {found[name]:.2f} is below {getattr(self, name).threshold:.2f}"
            for name in self.deciding
            if found[name] < getattr(self, name).threshold
        ]
        return QualityScores(found["mask"], found["completion"], not low, ", ".join(low))


def read_note(folder: Path) -> QualityNote:
    """`config.json` of a classifier folder. Raises FileNotFoundError or ValueError."""
    path = folder / "config.json"
    if not path.is_file():
        raise FileNotFoundError(
            f"no config.json in {folder}: name a folder that the recipe quality_classifiers wrote, "
            f"{EMBEDDED!r} or {COMPLETION!r}"
        )
    table = json.loads(path.read_text("utf-8"))
    layers = table.pop("layers", None)
    table.pop("figures", None)
    note = from_table(QualityNote, table, str(path))
    return QualityNote(**{**note.__dict__, "layers": layers})


def quality_id(source: str | Path) -> str:
    """What tells one way to judge from another: a hash of its folder's files, and who decides."""
    folder = _folder_of(source)
    read_note(folder)
    names = ("config.json", "neurons.safetensors", "backbone.safetensors")
    found = [sha256_of(folder / name) for name in names if (folder / name).is_file()]
    found += [COMPLETION] if source == COMPLETION else []
    return hash_of(found)[:16]


def load_backbone(note: QualityNote, folder: Path) -> FrozenFeatures:
    """The frozen network of a note. Raises ValueError for an unknown one, FetchError."""
    from multiplane.models.efficientnet import EfficientNetLite, load_published
    from multiplane.models.quality_classifier import FrozenFeatures

    if note.backbone == BACKBONE:
        (weights,) = sorted(locate(BACKBONE).rglob("*.pth"))
        return FrozenFeatures(load_published(weights), note.side)
    if note.backbone != "own" or note.layers is None:
        raise ValueError(f"backbone must be {BACKBONE!r}, or 'own' with layers: {note.backbone!r}")
    from safetensors.torch import load_file

    network = EfficientNetLite(backbone_config(note.layers))
    network.load_state_dict(load_file(folder / "backbone.safetensors"))
    return FrozenFeatures(network, note.side)


def backbone_config(layers: Mapping[str, Any]) -> EfficientNetConfig:
    """The layers of a network as `config.json` keeps them."""
    from multiplane.models.efficientnet import EfficientNetConfig

    return from_table(EfficientNetConfig, layers, "layers")


def save_quality(
    folder: Path,
    note: QualityNote,
    neurons: Mapping[str, Neuron],
    figures: Mapping[str, Any] | None = None,
) -> None:
    """Write a classifier folder; `figures` are kept in its config for the reader."""
    import numpy as np
    from safetensors.numpy import save

    tensors = {}
    for name in QUESTIONS:
        tensors[f"{name}.weight"] = np.ascontiguousarray(neurons[name].weight, np.float32)
        tensors[f"{name}.bias"] = np.asarray(neurons[name].bias, np.float32)
    write_bytes(folder / "neurons.safetensors", save(tensors))
    table = {key: value for key, value in asdict(note).items() if value is not None}
    write_json(folder / "config.json", {**table, **({"figures": figures} if figures else {})})


def _folder_of(source: str | Path) -> Path:
    return _embedded() if str(source) in (EMBEDDED, COMPLETION) else Path(source)


def _embedded() -> Path:
    return Path(str(resources.files("multiplane.weights") / "embedded" / "quality"))
