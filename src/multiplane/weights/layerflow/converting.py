"""A published LayerFlow checkpoint into a folder for diffusers and PEFT."""

from __future__ import annotations

import argparse
import json
import pickle
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from diffusers.models.transformers.cogvideox_transformer_3d import CogVideoXTransformer3DModel
from torch import Tensor

from multiplane.core.config import from_table
from multiplane.io.atomic import replacing
from multiplane.models.layer_embedding import LayerEmbedding, TokenGrid, token_table
from multiplane.models.layerflow_keys import PREFIX, RenamedTensors, rename
from multiplane.models.weights_io import WEIGHTS, write_folder, write_tensors
from multiplane.weights import hub
from multiplane.weights.layerdiffuse.converting import Converted
from multiplane.weights.layerflow.fit import (
    PublishedShape,
    architecture_of,
    check_lora,
    missing_from,
)
from multiplane.weights.layerflow.released import (
    LICENCE,
    RELEASES,
    Release,
    checkpoint_in,
    release_of,
)

ABOUT = "layerflow.json"
LORA_FILE = "pytorch_lora_weights.safetensors"
LORAS = ("content", "motion")
# A stored table of fixed positions was rounded to bfloat16; a learned one moves further.
_ROUNDING = 8e-3


@dataclass(frozen=True)
class ConvertedWeights:
    """What a converted folder holds (`layerflow.json`). frames: of a clip. joined: as
    `ClipCodec` has it. tasks: rows of the task table, ";" between them. missing: tensors the
    checkpoint lacked; they are the base's."""

    release: str
    variant: str
    frames: int
    lead: bool
    joined: bool
    tasks: str
    missing: tuple[str, ...] = ()
    licence: str = LICENCE

    @classmethod
    def read(cls, folder: Path) -> ConvertedWeights:
        """Raises ValueError for a folder that `convert` did not write."""
        table = json.loads((folder / ABOUT).read_text(encoding="utf-8"))
        return from_table(cls, table, str(folder / ABOUT))


def convert_checkpoint(
    source: Path,
    target: Path,
    release: str | None = None,
    shape: PublishedShape | None = None,
) -> Converted:
    """Write the checkpoint `source` (a file, a released folder, or a release's name, which is
    downloaded from its hub repository) as the folder `target`: `transformer`, `layer_embedding`
    where one was trained, and the LoRAs `content` and `motion`.

    release: what it was released as, where no folder of its path says. Raises FileNotFoundError;
    ValueError for a file that is none, or a tensor that does not fit."""
    if target.suffix or target.is_file():
        raise ValueError(f"a LayerFlow checkpoint becomes a folder, not a file {target.name}")
    known = release_of(source, release)
    tensors = read_checkpoint(_found(source))
    shape = shape or PublishedShape()
    renamed = rename(tensors)
    config = architecture_of(renamed.transformer, shape)
    missing = missing_from(renamed.transformer, config)
    embedding = _embedding(renamed, config, shape, known)
    loras = {name: _scaled(name, getattr(renamed, name), renamed.transformer) for name in LORAS}
    about = ConvertedWeights(
        release=known.name,
        variant=known.variant,
        frames=known.layout.frames,
        lead=known.lead,
        joined=True,
        tasks=known.task,
        missing=tuple(missing),
    )

    def write(folder: Path) -> None:
        write_tensors(_contiguous(renamed.transformer), folder / "transformer" / WEIGHTS)
        _write_json(
            {"_class_name": "CogVideoXTransformer3DModel", **config},
            folder / "transformer" / "config.json",
        )
        if embedding is not None:
            embedding.save_pretrained(folder / "layer_embedding")
        for name, lora in loras.items():
            if lora:
                write_tensors(lora, folder / name / LORA_FILE)
        _write_json(asdict(about), folder / ABOUT)

    write_folder(target, write)
    files = tuple(sorted(path for path in target.rglob("*") if path.is_file()))
    return Converted(files, _notes(renamed, missing, loras, embedding))


def read_checkpoint(source: Path) -> dict[str, Tensor]:
    """The denoiser's tensors of a pickled checkpoint under their published names, read without
    running what is in it.

    Raises ValueError for a file that holds code, is damaged, or holds no such tensors."""
    try:
        with torch.serialization.safe_globals([argparse.Namespace]):  # its settings lie beside them
            stored: Any = torch.load(source, map_location="cpu", weights_only=True, mmap=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError, ValueError) as error:
        raise ValueError(
            f"{source} cannot be read as plain weights ({str(error).splitlines()[0]}): it is "
            "damaged, or holds code, which is never run"
        ) from error
    for inner in ("module", "state_dict"):
        if isinstance(stored, Mapping) and isinstance(stored.get(inner), Mapping):
            stored = stored[inner]
    tensors = {
        key: value
        for key, value in (stored.items() if isinstance(stored, Mapping) else ())
        if isinstance(value, Tensor)
    }
    own = {key: value for key, value in tensors.items() if key.startswith(PREFIX)}
    if not own:
        shown = ", ".join(list(tensors)[:3]) or "none"
        raise ValueError(
            f"{source} holds no tensor named {PREFIX}* (its tensors: {shown}): it is no checkpoint "
            "of LayerFlow's published code"
        )
    return own


def _found(source: Path) -> Path:
    """The checkpoint file `source` means; a release's name is downloaded."""
    if source.is_file():
        return source
    if (inside := checkpoint_in(source)) is not None:
        return inside
    if not source.exists() and str(source) in RELEASES:
        try:
            return hub.download(RELEASES[str(source)].file)
        except hub.HubError as error:
            raise FileNotFoundError(str(error)) from error
    raise FileNotFoundError(
        f"there is no checkpoint {source}: name a file, a released folder, or one of "
        f"{', '.join(RELEASES)} to download it"
    )


def _embedding(
    renamed: RenamedTensors, config: Mapping[str, Any], shape: PublishedShape, release: Release
) -> LayerEmbedding | None:
    """What is learned of positions and layers; None where neither is.

    Raises ValueError for positions of another sequence than the release's."""
    learned = _learned_positions(renamed, config, shape, release)
    kind = "index" if renamed.embedding else "none"
    if learned is None and kind == "none":
        return None
    with torch.device("meta"):
        transformer = CogVideoXTransformer3DModel(**config)
    width = transformer.config["num_attention_heads"] * transformer.config["attention_head_dim"]
    tokens = release.prompts * shape.prompt_tokens
    size = None
    state = dict(renamed.embedding)
    if learned is not None:
        video = learned[tokens:].unflatten(0, (-1, shape.rows * shape.columns))
        size = (tokens, len(video), shape.rows, shape.columns)
        state |= {"text_positions": learned[:tokens], "video_positions": video}
    embedding = LayerEmbedding(width, kind, learned=size)
    try:
        embedding.load_state_dict({key: value.float() for key, value in state.items()})
    except RuntimeError as error:
        raise ValueError(
            "the layer embedding is not a linear layer and a norm of the transformer's width: "
            f"{str(error).splitlines()[-1].strip()}"
        ) from error
    return embedding


def _learned_positions(
    renamed: RenamedTensors, config: Mapping[str, Any], shape: PublishedShape, release: Release
) -> Tensor | None:
    """(text + video, width) float32 where the stored table is not the fixed one."""
    if not renamed.positions:
        return None
    table = renamed.positions[0].float().flatten(0, -2)
    tokens, each = release.prompts * shape.prompt_tokens, shape.rows * shape.columns
    latents, rest = divmod(len(table) - tokens, each)
    if rest or latents < release.layout.latents:
        raise ValueError(
            f"the checkpoint has {len(table)} positions, and {release.name} has {tokens} of text "
            f"and {release.layout.latents} times {each} of video: it was released as another one"
        )
    with torch.device("meta"):
        transformer = CogVideoXTransformer3DModel(**config)
    grid = TokenGrid(release.prompts, shape.prompt_tokens, latents, shape.rows, shape.columns)
    fixed = token_table(transformer, None, grid)
    if fixed.shape != table.shape:
        raise ValueError(f"the positions are {table.shape[1]} wide, the model {fixed.shape[1]}")
    return None if (table - fixed).abs().max() <= _ROUNDING else table


def _scaled(
    name: str, lora: Mapping[str, Tensor], tensors: Mapping[str, Tensor]
) -> dict[str, Tensor]:
    """The LoRA as diffusers' `load_lora_weights` reads it, its scale 1 / rank in lora_B, so that
    nothing depends on an alpha that a state dict does not carry. The scales of the release are
    powers of two: nothing is rounded. Pairs that change nothing are left out."""
    check_lora(name, lora, tensors)
    scaled: dict[str, Tensor] = {}
    for key, down in lora.items():
        module, _, rest = key.partition(".lora_A.")
        if not rest:
            continue
        up = lora[f"{module}.lora_B.weight"]
        if not up.any():
            continue
        if up.dtype == torch.float16:  # its smallest numbers would be lost
            up, down = up.float(), down.float()
        scaled[f"transformer.{key}"] = down.contiguous()
        scaled[f"transformer.{module}.lora_B.weight"] = (up / len(down)).contiguous()
    return scaled


def _notes(
    renamed: RenamedTensors,
    missing: list[str],
    loras: Mapping[str, Mapping[str, Tensor]],
    embedding: LayerEmbedding | None,
) -> tuple[str, ...]:
    notes = [LICENCE]
    if renamed.unknown:
        shown = ", ".join(renamed.unknown[:3])
        notes.append(f"{len(renamed.unknown)} tensors are unknown and were left out ({shown})")
    if missing:
        shown = ", ".join(missing[:3])
        notes.append(
            f"{len(missing)} tensors are missing ({shown}); the base's are used in their place"
        )
    for name, lora in loras.items():
        blocks = sorted({int(key.split(".")[2]) for key in lora})
        said = f"in blocks {', '.join(map(str, blocks))}" if blocks else "changes nothing"
        notes.append(f"LoRA {name}: {said}")
    if embedding is not None and embedding.config["learned"]:
        notes.append(
            "positions were learned: these weights make the size they were trained at only"
        )
    return tuple(notes)


def _contiguous(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name: tensor.contiguous() for name, tensor in tensors.items()}


def _write_json(table: Mapping[str, Any], path: Path) -> None:
    with replacing(path) as partial:
        partial.write_text(json.dumps(table, indent=2) + "\n", encoding="utf-8")
