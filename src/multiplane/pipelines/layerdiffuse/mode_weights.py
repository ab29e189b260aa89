"""A mode's weights, put on a UNet for a run and taken off again."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from multiplane.io.atomic import replacing
from multiplane.models.attention_sharing import NOTHING, SharingConditions
from multiplane.models.attention_sharing_unet import AttentionSharing
from multiplane.models.weights_io import write_tensors
from multiplane.weights.layerdiffuse.files import LoadedWeights
from multiplane.weights.layerdiffuse.merging import UNetMerge, merge

_BESIDE = "adapter_config.json"  # holds a PEFT LoRA's alpha


class ModeWeights(Protocol):
    """What a pipeline asks of a mode's weights. Between `attach` and `detach` the UNet is that of
    the mode; afterwards it is exactly what it was."""

    def attach(self, unet: Any, device: torch.device) -> None:
        """device: where the run happens. Raises ValueError for a UNet they were not made for."""
        ...

    def detach(self, unet: Any) -> None: ...

    def forget(self) -> None:
        """Drop what was computed from the UNet's own weights, which have changed."""
        ...

    def save(self, folder: Path) -> None:
        """Write the weights so that `load_mode` reads them from the folder."""
        ...


def move(network: nn.Module, device: torch.device, dtype: torch.dtype) -> None:
    """To a device and type; a diffusers model told to become what it is would warn."""
    first = next(network.parameters())
    if (first.device, first.dtype) != (device, dtype):
        nn.Module.to(network, device=device, dtype=dtype)


@dataclass
class MergedWeights:
    """SDXL: deltas of the UNet's own tensors. weight: what they are multiplied by, 0..2.

    The merged tensors stay in memory between runs; changing sides moves pointers. Whoever writes to
    the UNet's own weights in between calls `forget` (fusing a LoRA through the pipeline does)."""

    weights: LoadedWeights
    weight: float = 1.0
    _merge: UNetMerge | None = field(default=None, repr=False)

    def attach(self, unet: Any, device: torch.device) -> None:
        if self._merge is None or self._merge.unet is not unet:
            self._merge = merge(unet, self.weights, self.weight)
        self._merge.switch(True)

    def detach(self, unet: Any) -> None:
        if self._merge is not None:
            self._merge.switch(False)

    def forget(self) -> None:
        self._merge = None

    def save(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        for path in (self.weights.path, self.weights.path.with_name(_BESIDE)):
            if path.is_file():
                with replacing(folder / path.name) as partial:
                    shutil.copyfile(path, partial)


@dataclass
class SharingWeights:
    """SD1.5: units around the UNet's attentions."""

    sharing: AttentionSharing

    def attach(self, unet: Any, device: torch.device) -> None:
        move(self.sharing, device, unet.dtype)
        self.sharing.install(unet)
        self.sharing.conditions = NOTHING

    def detach(self, unet: Any) -> None:
        self.sharing.uninstall(unet)
        self.sharing.conditions = NOTHING

    def forget(self) -> None:
        self.sharing.release()

    def save(self, folder: Path) -> None:
        state = self.sharing.published_state()
        cpu = {name: one.detach().cpu().contiguous() for name, one in state.items()}
        write_tensors(cpu, folder / "sharing.safetensors")

    @torch.no_grad()
    def announcer(self, images: Tensor) -> Callable[[int], None]:
        """Tells the units the signals of `images` before each call of the UNet, for as many halves
        of guidance as are in it. images: (1 or count, 3, H, W) in [-1, 1]."""
        maps = [self.sharing.encode_condition(image[None]) for image in images]
        signals = {tokens: torch.cat([one[tokens] for one in maps]) for tokens in maps[0]}
        # The same object every step: the units keep what they made of it.
        told: dict[int, SharingConditions] = {}

        def announce(halves: int) -> None:
            if halves not in told:
                copies = halves if len(images) > 1 else 1
                repeated = {n: torch.cat([one] * copies) for n, one in signals.items()}
                told[halves] = SharingConditions(signals=repeated)
            self.sharing.conditions = told[halves]

        return announce
