"""A classifier folder with a network of its own, small enough for a test; the same loading code."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file

from multiplane.data.layer_photos.quality import NeuronNote, QualityNote, save_quality
from multiplane.models.efficientnet import EfficientNetConfig, EfficientNetLite, Stage
from multiplane.models.quality_classifier import Neuron

LAYERS = EfficientNetConfig(
    stem=8, head=24, classes=10, stages=(Stage(1, 3, 1, 1, 8), Stage(2, 3, 2, 2, 12))
)


def small_quality(folder: Path, threshold: float = 0.0, seed: int = 0) -> Path:
    """threshold 0: everything passes; 1.1: nothing does."""
    folder.mkdir(parents=True, exist_ok=True)
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        network = EfficientNetLite(LAYERS)
    save_file(network.state_dict(), folder / "backbone.safetensors")
    rng = np.random.default_rng(seed)
    neurons = {
        name: Neuron(views, rng.normal(size=24 * len(views)).astype(np.float32), 0.1, threshold)
        for name, views in (("mask", ("object", "rest")), ("completion", ("picture",)))
    }
    notes = {name: NeuronNote(each.views, each.threshold) for name, each in neurons.items()}
    note = QualityNote(32, notes["mask"], notes["completion"], "own", asdict(LAYERS))
    save_quality(folder, note, neurons)
    return folder
