"""Find a LayerDiffuse file (hub, folder, path) and say what is in it, from its keys."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from torch import Tensor

from multiplane.models.weights_io import read_tensors
from multiplane.weights import hub
from multiplane.weights.hub import HubError, HubFile
from multiplane.weights.layerdiffuse.deltas import (
    UNetDeltas,
    forge_deltas,
    is_forge,
    is_lora,
    is_offset,
    lora_deltas,
    offset_deltas,
)
from multiplane.weights.layerdiffuse.published import PUBLISHED, PublishedFile, in_repository

log = logging.getLogger(__name__)

PICKLED = (".pth", ".pt", ".ckpt", ".bin")
SUFFIX = ".safetensors"


@dataclass(frozen=True, eq=False)
class SharingTensors:
    """Attention-sharing units, under their published names (`AttentionSharing.from_published`)."""

    tensors: Mapping[str, Tensor]


@dataclass(frozen=True, eq=False)
class TransparencyTensors:
    """The state dict of the latent offset encoder or of the transparency decoder. multiplier: of
    the encoder's output, where the file is a published one."""

    part: Literal["encoder", "decoder"]
    tensors: Mapping[str, Tensor]
    multiplier: float | None = None


@dataclass(frozen=True, eq=False)
class LoadedWeights:
    """A file that was read. published: its row in the table, when its name is in it."""

    path: Path
    published: PublishedFile | None
    content: UNetDeltas | SharingTensors | TransparencyTensors

    @property
    def name(self) -> str:
        return self.path.name


def load_weights(source: str | Path) -> LoadedWeights:
    """Read the weights that `source` names: a safetensors file; a folder with one; a published
    file's name (`layer_xl_transparent_attn`); or `owner/repository/file` on the hub. Tensors are
    mapped from the file, not copied.

    Raises FileNotFoundError, or ValueError for a file in none of the published formats."""
    path, published = locate(source)
    if path.suffix in PICKLED:
        raise ValueError(
            f"{path} is pickled, which may run code when it is read: write it as safetensors with "
            f"`multiplane convert {path} -o {path.with_suffix(SUFFIX)}`"
        )
    tensors = read_tensors(path)
    return LoadedWeights(path, published, recognise(tensors, path, published))


def recognise(
    tensors: Mapping[str, Tensor], path: Path, published: PublishedFile | None = None
) -> UNetDeltas | SharingTensors | TransparencyTensors:
    """What the keys say the tensors are. path: for messages, and for a LoRA's alpha beside it.
    Raises ValueError for keys of none of the published formats."""
    keys = list(tensors)
    if any(is_forge(key) for key in keys):
        return forge_deltas(tensors)
    if any(key.startswith("hookers.layers.") for key in keys):
        return SharingTensors(tensors)
    if "latent_conv_in.weight" in tensors:
        return TransparencyTensors("decoder", tensors)
    if keys and all(key.startswith("blocks.") for key in keys):
        multiplier = None if published is None else published.multiplier
        return TransparencyTensors("encoder", tensors, multiplier)
    if any(is_lora(key) for key in keys):
        if any(key.startswith(("transformer.", "lora_transformer_")) for key in keys):
            raise ValueError(
                f"{path} is a LoRA for a diffusion transformer (Flux), not for a UNet: load it "
                "with that pipeline's own load_lora_weights"
            )
        return lora_deltas(tensors, _adapter_alpha(path))
    if any(is_offset(key) for key in keys):
        return offset_deltas(tensors)
    shown = ", ".join(keys[:3]) or "nothing"
    raise ValueError(
        f"{path} is no LayerDiffuse file: its keys ({shown}, ...) are those of none of the known "
        "formats (`...::lora::0`, `hookers.layers.*`, LoRA, offsets with UNet names, `blocks.*`, "
        "the transparency decoder)"
    )


def _adapter_alpha(path: Path) -> float | None:
    """lora_alpha as PEFT (adapter_config.json beside the file) or diffusers (in the file's header)
    write it."""
    config = path.with_name("adapter_config.json")
    if config.is_file():
        alpha = json.loads(config.read_text(encoding="utf-8")).get("lora_alpha")
        return None if alpha is None else float(alpha)
    from safetensors import safe_open

    with safe_open(path, framework="pt") as file:
        header = (file.metadata() or {}).get("lora_adapter_metadata")
    if header is None:
        return None
    table = json.loads(header)
    alpha = table.get("unet.lora_alpha", table.get("lora_alpha"))
    return None if alpha is None else float(alpha)


def locate(source: str | Path) -> tuple[Path, PublishedFile | None]:
    """The file that `source` names, downloaded when it is on the hub, and its row in the table.
    Raises FileNotFoundError saying what to do."""
    path = Path(source).expanduser()
    if path.is_file():
        return path, PUBLISHED.get(path.stem)
    if path.is_dir():
        inside = _only_file(path)
        return inside, PUBLISHED.get(inside.stem)
    name = str(source)
    parts = name.split("/")
    if len(parts) == 1 and path.stem in PUBLISHED and path.suffix in ("", SUFFIX, *PICKLED):
        file = PUBLISHED[path.stem]
        return _download(file.repository, file.filename), file
    if len(parts) >= 3 and not path.is_absolute() and parts[0] not in (".", "..", "~"):
        filename = "/".join(parts[2:])
        return _download("/".join(parts[:2]), filename), PUBLISHED.get(Path(filename).stem)
    known = ", ".join(file.name for file in in_repository(name)) or ", ".join(sorted(PUBLISHED))
    raise FileNotFoundError(
        f"there is no file {name}: name a .safetensors file, a folder with one, "
        f"owner/repository/file on the hub, or one of {known}"
    )


def _only_file(folder: Path) -> Path:
    files = sorted(folder.glob(f"*{SUFFIX}"))
    if len(files) == 1:
        return files[0]
    names = ", ".join(file.name for file in files) or "none"
    raise FileNotFoundError(
        f"{folder} must hold exactly one {SUFFIX} file (it holds {names}): name the file itself"
    )


def _download(repository: str, filename: str) -> Path:
    filename = filename if Path(filename).suffix else f"{filename}{SUFFIX}"
    try:
        return hub.download(HubFile(repository, filename))
    except HubError as error:
        raise FileNotFoundError(str(error)) from error
