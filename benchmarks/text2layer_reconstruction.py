"""How well each autoencoder of Text2Layer's comparison gives a scene's two layers back.

    python benchmarks/text2layer_reconstruction.py --shards shards/assets --out reconstruction \
        joint=runs/text2layer/autoencoder-joint/autoencoder separate=runs/rgb_vae/vae

FORM=FOLDER, or NAME:FORM=FOLDER for two of one form. Writes reconstruction.json and a sheet; the
scenes are held out, drawn by a fixed seed, and the same for all.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch

from multiplane.evaluation.sheets import Cell, SheetRow, save_sheet, table
from multiplane.evaluation.suite import write_json
from multiplane.models.cat2i_autoencoder import TwoLayers
from multiplane.models.layer_codecs import JointLatents, SeparateLatents, load_layer_codec
from multiplane.models.planes import unpremultiply
from multiplane.training.feed import FeedConfig, load_feed
from multiplane.training.run import step_generator
from multiplane.training.two_layers import draw_two_layers, layer_figures

SEED = 11
BATCH = 32
SHOWN = 8


def layers_of(codec: JointLatents | SeparateLatents, true: TwoLayers) -> TwoLayers:
    """The planes after a round trip through the latent."""
    decode = codec.autoencoder.decode if isinstance(codec, JointLatents) else codec.decode
    return decode(codec.encode(true))


def joined(batches: list[TwoLayers]) -> TwoLayers:
    """Batches as one, without their images."""
    return TwoLayers(*(torch.cat([each[i] for each in batches]) for i in range(3)))  # pyright: ignore


def cells(layers: TwoLayers, kind: str) -> list[Cell]:
    planes = unpremultiply(layers.planes()[kind][:SHOWN])
    return [Cell(plane.permute(1, 2, 0).contiguous().numpy()) for plane in planes]


def sheet(shown: dict[str, TwoLayers]):
    rows = [
        SheetRow(f"{kind}, {name}", cells(layers, kind))
        for kind in ("foreground", "background", "composite")
        for name, layers in shown.items()
    ]
    return table(rows, "Two layers through a latent", "The first held-out scenes, not picked.", 112)


@torch.no_grad()
def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("autoencoders", nargs="+", metavar="[NAME:]FORM=FOLDER")
    parser.add_argument("--shards", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--size", type=int, default=64)
    parser.add_argument("--count", type=int, default=256)
    given = parser.parse_args()
    config = FeedConfig(given.shards, given.size, background_size=round(1.375 * given.size))
    feed, _ = load_feed(config, "heldout", None, torch.device("cpu"))
    scenes = [
        draw_two_layers(feed, None, BATCH, step_generator(SEED, index, 0)).layers
        for index in range(given.count // BATCH)
    ]
    true = joined(scenes)
    shown, figures = {"truth": true}, {}
    for text in given.autoencoders:
        name, _, folder = text.partition("=")
        form = name.rpartition(":")[2]
        codec = load_layer_codec(form, Path(folder))
        if not isinstance(codec, JointLatents | SeparateLatents):
            parser.error(f"{text}: only joint and separate latents give layers back")
        made = joined([layers_of(codec, each) for each in scenes])
        shown[name.partition(":")[0]] = made
        numbers = codec.latent_channels * (given.size // codec.factor) ** 2
        parameters = sum(p.numel() for p in codec.network().parameters())
        figures[name.partition(":")[0]] = {
            "latent numbers": numbers,
            "parameters": parameters,
            **layer_figures(made, true),
        }
        print(
            name, {key: round(value, 4) for key, value in figures[name.partition(":")[0]].items()}
        )
    write_json(given.out / "reconstruction.json", {"scenes": len(true.mask), "figures": figures})
    save_sheet(sheet(shown), given.out / "reconstruction.png")


if __name__ == "__main__":
    main()
