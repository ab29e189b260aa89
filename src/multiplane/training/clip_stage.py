"""What the stages of layered-clip training share: networks from folders, and the loss of a batch.

Differs from LayerFlow (arXiv 2506.04228) in three things. Time is per token, given planes are told
so, where the paper's share the noised planes' timestep. x-prediction under the flow's velocity
loss, as `tiny` has it, instead of v-prediction: at this size it needs no noise schedule. And tasks
are drawn sample by sample, so one set of weights does all of them; the paper trains one each.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor, nn

from multiplane.models.layered_transformer import LayeredTransformer, LayeredTransformerConfig
from multiplane.models.lora import LoRAConfig, add_lora
from multiplane.models.patches import PixelPatches, PixelPatchesConfig
from multiplane.models.text_encoder import TextEncoder
from multiplane.models.weights_io import load_network
from multiplane.training.clips import PLANES, ClipPool, ClipTraining, as_rows
from multiplane.training.given_planes import check_tasks, draw_given_planes
from multiplane.training.losses import logit_normal_times
from multiplane.training.rows import RowBatch, drop_text, given_times, row_loss
from multiplane.training.run import RunConfig, TrainingRun, compile_parts

NETWORK = "denoiser"  # a stage's network lies in this folder of its run
ADAPTER = "adapter"  # and its adapter in this one


def load_denoiser(folder: Path) -> LayeredTransformer:
    """The network of a stage before. Raises FileNotFoundError or ValueError."""
    return load_network(LayeredTransformer, LayeredTransformerConfig, folder).train()


def train_only(network: nn.Module, chosen: Callable[[str], bool]) -> int:
    """Freeze every parameter but those whose name `chosen` takes; returns how many numbers train.
    Raises ValueError where none does."""
    total = 0
    for name, parameter in network.named_parameters():
        parameter.requires_grad_(chosen(name))
        total += parameter.numel() if parameter.requires_grad else 0
    if not total:
        raise ValueError("nothing is left to train: no parameter was chosen")
    return total


def new_adapter(network: LayeredTransformer, name: str, config: LoRAConfig, seed: int) -> None:
    """Put an adapter into `network`, its initial weights drawn from `seed`; it alone trains. Raises
    ValueError as `add_lora`."""
    torch.manual_seed(seed)
    add_lora(network, name, config)
    train_only(network, lambda parameter: f".adapters.{name}." in parameter)


def begin(
    run: RunConfig,
    data: ClipTraining,
    settings: Mapping[str, Any],
    denoiser: LayeredTransformer,
    stage: ClipStage | None,
    some_idle: bool = False,
) -> tuple[TrainingRun, ClipStage]:
    """The run of a stage and its data. settings: its whole configuration. stage: the data, where it
    is read already. some_idle: see `TrainingRun`."""
    if run.compile:
        compile_parts(*denoiser.hidden)
    training = TrainingRun(run, denoiser, denoiser.hidden, settings, some_idle=some_idle)
    return training, stage or ClipStage(data, denoiser.config, training.device)


class ClipStage:
    """The data of a stage and the loss on it; stages of one data configuration may share it. model:
    its tokens must be the patches'. Raises ValueError where they are not."""

    def __init__(
        self, config: ClipTraining, model: LayeredTransformerConfig, device: torch.device
    ) -> None:
        check_tasks(config.tasks, PLANES)
        self.config = config
        self.device = device
        self.codec = PixelPatches(PixelPatchesConfig(config.patch))
        self.encoder = TextEncoder.from_pretrained(config.text_encoder, model.text_tokens)
        self.encoder.to(device)
        self._pools: dict[str, ClipPool] = {}
        channels = self.codec.config.latent_channels
        if model.channels != channels:
            raise ValueError(
                f"model.channels is {model.channels}; patches of {config.patch} px need {channels}"
            )

    def pool(self, split: str) -> ClipPool:
        """The moving clips and the layered pictures of a split, with states of their captions; read
        once."""
        if split not in self._pools:
            styles = tuple(dict.fromkeys((*self.config.videos, *self.config.images)))
            self._pools[split] = ClipPool.load(
                self.config, split, styles, self.encoder, self.device
            )
        return self._pools[split]

    def loss(
        self, model: nn.Module, rows: RowBatch, given: Tensor, generator: torch.Generator
    ) -> Tensor:
        """(B,) losses with some prompts dropped. given: as the denoiser takes it."""
        config, count = self.config, len(rows.clean)
        noise = config.noise
        t = logit_normal_times(count, noise.time_mean, noise.time_std, generator)
        clean_time = given_times(count, noise.given_time, generator)
        has_text = drop_text(rows, config.drop_all_text, config.drop_one_text, generator)
        times = t.to(self.device), clean_time.to(self.device)
        network = cast(LayeredTransformer, model)
        shared = config.shared_noise
        return row_loss(network, rows, given, has_text, *times, generator, shared_noise=shared)

    def draw_given(self, rows: RowBatch, generator: torch.Generator) -> Tensor:
        """The planes given in each sample, by the weights of `tasks`, for every token."""
        count = len(rows.clean)
        planes = draw_given_planes(self.config.tasks, PLANES, count, generator)
        return planes[:, :, None, None, None].expand_as(rows.given).to(self.device)

    @torch.no_grad()
    def heldout_loss(self, model: LayeredTransformer) -> float:
        """Mean loss on the first held-out clips, exact and moving, with fixed noise and tasks."""
        generator, pool = torch.Generator().manual_seed(0), self.pool("heldout")
        clips = pool.first(self.config.heldout, pool.rows_of(self.config.videos))
        rows = as_rows(clips, pool.prompts, self.codec)
        given = self.draw_given(rows, generator)
        t = torch.linspace(0.15, 0.85, len(rows.clean)).to(self.device)
        ones = torch.ones_like(t)
        with torch.compiler.set_stance("force_eager"):  # one batch is not worth a graph of its own
            losses = row_loss(
                model,
                rows,
                given,
                rows.has_text,
                t,
                ones,
                generator,
                shared_noise=self.config.shared_noise,
            )
        return float(losses.mean())
