"""Train LayerDiffuse's two-step conditional models of SDXL: given planes as further input channels.

    python -m multiplane.recipes.layerdiffuse_conditions config.toml
    torchrun --nproc-per-node N -m multiplane.recipes.layerdiffuse_conditions config.toml

Modes: fg2blend and bg2blend (the composite for a given layer), fgblend2bg and bgblend2fg (the other
layer for a given layer and the composite). The first convolution grows by the latents of what is
given, from zeros; it trains with the set of tensors that the released files change: the resnets,
samplers, first and last layers ("convolutions"), or everything but query, key, value and the
embeddings ("body", as released for bgblend2fg). Latents to be made are those of the VAE, and the
adjusted ones that carry alpha where the foreground is made.

Differs from the paper (arXiv 2402.17113, section 3.4) as the released weights do: there the given
layer is a stream of the shared attention whose noise is set to zero; here its clean latents, of the
layer over mid grey, are joined to the noisy ones at every time, and no attention is shared. Both
show the model a given layer without noise.

Writes `run.out`/MODE.safetensors in the published format (`diffusion_model.KEY::diff::0`), for
`load_mode(MODE, run.out)`.
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
from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel
from torch import Tensor, nn

from multiplane.core.config import read_config
from multiplane.models.weights_io import write_tensors
from multiplane.pipelines.layerdiffuse import SDXL_WORKFLOWS, LayerDiffuseXLPipeline
from multiplane.pipelines.layerdiffuse.modes import Mode, modes_of
from multiplane.recipes.command import path_argument
from multiplane.recipes.layer_course import Course, CourseConfig, base_for_course
from multiplane.training.inside_unet import TrainedPart, halved, widen_input
from multiplane.training.layer_latents import LayerBatch, shown_latents
from multiplane.weights.layerdiffuse.deltas import IN_CONTENT, to_forge


@dataclass(frozen=True)
class Config(CourseConfig):
    """part: the tensors that train; none for those of the released file. All else: see
    `CourseConfig`."""

    mode: Literal["fg2blend", "bg2blend", "fgblend2bg", "bgblend2fg"] = "fg2blend"
    part: Literal["convolutions", "body"] | None = None

    @property
    def layers(self) -> Mode:
        """What is given and made, as the pipeline that will use the weights has it."""
        return modes_of(SDXL_WORKFLOWS)[self.mode]

    @property
    def trained(self) -> Literal["convolutions", "body"]:
        """The part, chosen or released."""
        return self.part or ("body" if self.mode == "bgblend2fg" else "convolutions")


class AlreadyThere:
    """The weights of a mode that the UNet itself is of."""

    def attach(self, unet: Any, device: torch.device) -> None: ...
    def detach(self, unet: Any) -> None: ...
    def forget(self) -> None: ...
    def save(self, folder: Path) -> None: ...


def conditional(unet: UNet2DConditionModel, config: Config) -> TrainedPart:
    """The UNet with the input of the mode, and of it what trains."""
    given = len(config.layers.conditions)
    widen_input(unet, unet.config["out_channels"] * (1 + given))
    return TrainedPart(unet, IN_CONTENT[config.trained])


def published_state(model: TrainedPart, unet: UNet2DConditionModel) -> dict[str, Tensor]:
    """What training added, as a published file holds it."""
    attention = ["CrossAttn" in kind for kind in unet.config["down_block_types"]]
    return halved(to_forge(model.offsets(), attention))


def conditioned(network: nn.Module, batch: LayerBatch, vae: AutoencoderKL) -> Any:
    """The network with the latents of the batch's given layers behind the noisy ones."""
    with torch.autocast(vae.device.type, enabled=False):
        given = [shown_latents(vae, planes) for planes in batch.given]

    def predict(noisy: Tensor, times: Tensor, **arguments: Any) -> Any:
        whole = torch.cat([noisy, *given], dim=1)
        return network(whole, times, added_cond_kwargs=batch.added, **arguments)

    return predict


def main(path: Path) -> None:
    """Train to `run.steps` and write what the averaged weights add to the base to `run.out`."""
    config = read_config(Config, path)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    base, mode = base_for_course(config, xl=True), config.layers
    unet = base.unet
    model = conditional(unet, config)

    @contextmanager
    def opened(networks: Mapping[str, Any]) -> Iterator[LayerDiffuseXLPipeline]:
        pipeline = LayerDiffuseXLPipeline(**base.components, **networks)
        pipeline.mode_weights[mode.name] = AlreadyThere()
        yield pipeline

    seeing = partial(conditioned, vae=base.vae)
    if Course(config, base, mode, model, seeing, opened).train():
        write_tensors(published_state(model, unet), config.run.out / f"{mode.name}.safetensors")


if __name__ == "__main__":
    main(path_argument(__doc__))
