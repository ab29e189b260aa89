"""Train LayerDiffuse's layers on Stable Diffusion 1.5: streams of one batch that share attention.

    python -m multiplane.recipes.layerdiffuse_layers config.toml
    torchrun --nproc-per-node N -m multiplane.recipes.layerdiffuse_layers config.toml

Modes: joint (foreground, background and composite at once), fg2bg and bg2fg (a layer and the
composite for a given layer, which a control-signal encoder, trained along, shows to every
attention), and pair, the paper's two streams, foreground and background. The base is frozen; each
stream's LoRA and the attention across streams train, on the noise predicted for all streams, which
share one time a scene and have a caption each (arXiv 2402.17113, section 3.4).

Differs from the paper as the released weights do: there a given layer is one more stream whose
noise is set to zero, so its clean latent takes part in the attention of the others; here it is a
picture that the control-signal encoder reads, and all streams are noisy. Keys and values are not
laid side by side: a second attention runs across the streams at each place.

Writes `run.out`/MODE.safetensors in the published format, for `load_mode(MODE, run.out)`.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal

import torch
from torch import nn

from multiplane.core.config import read_config
from multiplane.models.attention_sharing_unet import AttentionSharing
from multiplane.models.weights_io import write_tensors
from multiplane.pipelines.layerdiffuse import SD15_WORKFLOWS, LayerDiffusePipeline
from multiplane.pipelines.layerdiffuse.modes import Mode, modes_of
from multiplane.recipes.command import path_argument
from multiplane.recipes.layer_course import Course, CourseConfig, base_for_course
from multiplane.training.inside_unet import SharedStreams, halved
from multiplane.training.layer_latents import LayerBatch, shown


@dataclass(frozen=True)
class Config(CourseConfig):
    """rank: of every stream's LoRA, 256 in the paper. All else: see `CourseConfig`."""

    mode: Literal["joint", "fg2bg", "bg2fg", "pair"] = "joint"
    rank: int = 256
    whole_text: float = 0.1

    @property
    def layers(self) -> Mode:
        """The mode's streams and conditions, as the pipeline that will use the weights has them."""
        return modes_of(SD15_WORKFLOWS)[self.mode]


def seeing(network: nn.Module, batch: LayerBatch) -> Any:
    """The network with the batch's given layer before it, where there is one."""
    return partial(network, image=shown(batch.given[0]) if batch.given else None)


def main(path: Path) -> None:
    """Train to `run.steps` and write the averaged units to `run.out`."""
    config = read_config(Config, path)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    torch.manual_seed(config.run.seed)  # the initial weights
    base, mode = base_for_course(config, xl=False), config.layers
    sharing = AttentionSharing.for_unet(
        base.unet, len(mode.streams), config.rank, bool(mode.conditions)
    )
    model = SharedStreams(sharing, base.unet)

    @contextmanager
    def opened(networks: Mapping[str, Any]) -> Iterator[LayerDiffusePipeline]:
        with model.outside() as units:
            pipeline = LayerDiffusePipeline(**base.components, **networks)
            pipeline.load_mode(mode.name, units)
            yield pipeline

    if Course(config, base, mode, model, seeing, opened).train():
        out = config.run.out / f"{mode.name}.safetensors"
        write_tensors(halved(sharing.published_state()), out)


if __name__ == "__main__":
    main(path_argument(__doc__))
