"""A world of a few made assets, small enough to train on in a test."""

from __future__ import annotations

import io
import json
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from multiplane.models.layered_transformer import LayeredTransformer, LayeredTransformerConfig
from multiplane.models.rgba_autoencoder import RGBAAutoencoder, RGBAAutoencoderConfig
from multiplane.training.pools import BackgroundPool, ForegroundPool, Prompts
from multiplane.training.rows import RowFeed
from multiplane.training.scenes import SceneFeed

SIZE = 32
AUTOENCODER = RGBAAutoencoderConfig(
    size=SIZE,
    patch=2,
    encoder_channels=(8, 8, 8),
    decoder_channels=(8, 8, 8),
    blocks=1,
    latent_channels=4,
)
DENOISER = LayeredTransformerConfig(
    channels=4,
    grid=4,
    width=64,
    depth=2,
    head_channels=32,
    rotary_split=(2, 2, 6, 6),
    text_channels=12,
    text_tokens=4,
)


class WordEncoder:
    """Stands in for the sentence encoder: a fixed random state a word."""

    def __call__(self, prompts) -> tuple[torch.Tensor, torch.Tensor]:
        states = torch.zeros(len(prompts), 4, 12)
        mask = torch.zeros(len(prompts), 4, dtype=torch.bool)
        for row, prompt in enumerate(prompts):
            for column, word in enumerate(prompt.split()[:4]):
                generator = torch.Generator().manual_seed(sum(map(ord, word)))
                states[row, column] = torch.randn(12, generator=generator)
                mask[row, column] = True
        return states, mask


def disc(color: tuple[int, int, int], radius: int) -> np.ndarray:
    """(4, SIZE, SIZE) uint8: a disc of straight colour."""
    y, x = np.mgrid[:SIZE, :SIZE] - (SIZE - 1) / 2
    alpha = np.clip(radius + 0.5 - np.hypot(y, x), 0, 1)
    planes = [np.full((SIZE, SIZE), value) for value in color] + [alpha * 255]
    return np.stack(planes).astype(np.uint8)


def a_scene_feed() -> tuple[SceneFeed, Prompts]:
    from multiplane.data.placement import ScenePlacement

    colors = {"red ball": (255, 0, 0), "green ball": (0, 255, 0), "blue ball": (0, 0, 255)}
    pixels = np.stack([disc(color, 13) for color in colors.values()])
    prompts = Prompts.encode(WordEncoder(), [*colors, "night", "day"])  # pyright: ignore
    row = prompts.lookup()
    foregrounds = ForegroundPool.build(
        torch.from_numpy(pixels), list(colors), ["3d"] * 3, [[row[name]] for name in colors]
    )
    plates = [torch.full((3, 40, 80), 30, dtype=torch.uint8)]
    plates.append(torch.full((3, 40, 60), 200, dtype=torch.uint8))
    backgrounds = BackgroundPool.build(plates, [[row["night"]], [row["day"]]], 40, 3)
    return SceneFeed(foregrounds, backgrounds, {"3d": 1.0}, ScenePlacement()), prompts


def a_row_feed() -> RowFeed:
    torch.manual_seed(0)
    feed, prompts = a_scene_feed()
    return RowFeed(feed, prompts, RGBAAutoencoder(AUTOENCODER), WordEncoder())  # pyright: ignore


def a_denoiser() -> LayeredTransformer:
    torch.manual_seed(0)
    return LayeredTransformer(DENOISER)


def write_shards(folder: Path, weights: dict[str, float] | None = None) -> None:
    """A shard folder as `multiplane data build` writes it, of discs and plain plates. weights: of
    the captions that do not have weight 1."""
    import hashlib
    import tarfile

    folder.mkdir(parents=True)
    names = ("red ball", "green ball", "blue ball", "white ball")
    colors = ((255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 255))
    shards = []
    for split, chosen in (("train", range(3)), ("heldout", range(3, 4))):
        samples = [
            (
                names[i],
                disc(colors[i], 13).transpose(1, 2, 0),
                {"kind": "foreground", "style": "3d", "concept": names[i], "root": names[i]},
            )
            for i in chosen
        ]
        plates = [
            (f"plate {split}", np.full((64, 96, 3), 120, np.uint8), {"kind": "background"}),
        ]
        for kind, items in (("foreground", samples), ("background", plates)):
            name = f"{kind}-{split}-000.tar"
            with tarfile.open(folder / name, "w") as tar:
                for index, (caption, pixels, extra) in enumerate(items):
                    meta = {"key": f"{kind}-{split}-{index}", "split": split, "group": "test"}
                    meta |= {"captions": [caption], "horizon": 0.5, **extra}
                    meta["weight"] = (weights or {}).get(caption, 1.0)
                    picture = io.BytesIO()
                    Image.fromarray(pixels).save(picture, "PNG")
                    for suffix, data in (
                        ("json", json.dumps(meta).encode()),
                        ("png", picture.getvalue()),
                    ):
                        info = tarfile.TarInfo(f"{meta['key']}.{suffix}")
                        info.size = len(data)
                        tar.addfile(info, io.BytesIO(data))
            digest = hashlib.sha256((folder / name).read_bytes()).hexdigest()
            about = {
                "kind": kind,
                "split": split,
                "style": "3d" if kind == "foreground" else "photo",
            }
            note = {"name": name, "count": len(items), "sha256": digest, "about": about}
            note |= {"bytes": (folder / name).stat().st_size, "skipped": [], "plan": ""}
            (folder / f"{name}.json").write_text(json.dumps(note))
            shards.append(note)
    (folder / "manifest.json").write_text(json.dumps({"shards": shards}))


def write_text_encoder(folder: Path) -> Path:
    """A one-layer BERT with random weights and a word tokenizer, as its publisher would ship it."""
    from tokenizers import Tokenizer, models, pre_tokenizers, processors
    from transformers import BertConfig, BertModel

    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "a", "in", "red", "green", "blue", "white", "ball"]
    tokenizer = Tokenizer(models.WordLevel({w: i for i, w in enumerate(words)}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=len(words),
        hidden_size=12,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=24,
        max_position_embeddings=32,
    )
    BertModel(config, add_pooling_layer=False).save_pretrained(folder)
    tokenizer.save(str(folder / "tokenizer.json"))
    return folder
