"""Text2Layer's comparison from shards to table: two autoencoders, five latent diffusion models
with equal samples, their answers to the fixed captions, the protocol's figures.

    python -m multiplane.recipes.text2layer_comparison config.toml

joint, nosup (without the auxiliary image head), separate (three latents of an ordinary
autoencoder), flat (composites alone, cut by a segmenter), unfiltered (joint, on data with faults),
and the embedded `tiny` at its own size. What stands already is not made again, so a stopped run
goes on where it was.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from multiplane.core.config import read_config
from multiplane.engine import load
from multiplane.evaluation.bench import Judges
from multiplane.evaluation.prompts import fixed_prompts
from multiplane.evaluation.text2layer_outputs import make_outputs
from multiplane.evaluation.text2layer_run import lines_of_protocol, run_protocol
from multiplane.models.layer_codecs import load_layer_codec
from multiplane.models.weights_io import CONFIG
from multiplane.recipes import text2layer, text2layer_autoencoder
from multiplane.recipes.command import path_argument

logger = logging.getLogger(__name__)
Name = Literal["joint", "nosup", "separate", "flat", "unfiltered", "tiny"]
FORMS: dict[str, Literal["joint", "separate", "flat"]] = {
    "joint": "joint",
    "nosup": "joint",
    "separate": "separate",
    "flat": "flat",
    "unfiltered": "joint",
}


@dataclass(frozen=True)
class Config:
    """out: folder of everything that is made. autoencoder, model: what every stage shares; their
    run.out, latents, autoencoder, latent channels and faults are set here. vae: an ordinary
    diffusers `AutoencoderKL`, for "separate" and "flat". shards: what `multiplane data build`
    wrote. faults: share of spoilt scenes in "unfiltered" data. captions: how many are answered."""

    out: Path
    shards: Path
    vae: Path
    autoencoder: text2layer_autoencoder.Config
    model: text2layer.Config
    faults: float = 0.5
    captions: int = 96
    models: tuple[Name, ...] = ("joint", "nosup", "separate", "flat", "unfiltered", "tiny")


def autoencoder_folder(config: Config, name: str) -> Path:
    """Where the autoencoder of a model lies, or will lie."""
    if FORMS[name] != "joint":
        return config.vae
    kind = "nosup" if name == "nosup" else "joint"
    return config.out / f"autoencoder-{kind}" / "autoencoder"


def autoencoder_config(config: Config, name: str) -> text2layer_autoencoder.Config:
    """The joint autoencoder's configuration: without its image head for "nosup"."""
    folder = autoencoder_folder(config, name).parent
    base = config.autoencoder
    return replace(
        base,
        run=replace(base.run, out=folder),
        model=replace(base.model, image_head=name != "nosup"),
    )


def model_config(config: Config, name: str) -> text2layer.Config:
    """A diffusion model's configuration; its autoencoder must stand."""
    base, folder = config.model, autoencoder_folder(config, name)
    channels = load_layer_codec(FORMS[name], folder).latent_channels
    return replace(
        base,
        run=replace(base.run, out=config.out / name),
        latents=FORMS[name],
        autoencoder=folder,
        model=replace(base.model, latent_channels=channels),
        faults=config.faults if name == "unfiltered" else 0.0,
    )


def train_model(config: Config, name: str) -> Path:
    """The folder of a trained model, trained with its autoencoder when it is not there."""
    folder = config.out / name / "model"
    if (folder / "model_index.json").is_file():
        return folder
    if FORMS[name] == "joint" and not (autoencoder_folder(config, name) / CONFIG).is_file():
        text2layer_autoencoder.train(autoencoder_config(config, name))
    text2layer.train(model_config(config, name))
    return folder


def compare(config: Config, judges: Judges) -> None:
    """Train what is missing, answer the captions, write the table and the sheet into
    `out`/protocol."""

    def report(name: str, done: int, total: int) -> None:
        if done == total:
            logger.info("%s: %d done", name, total)

    prompts = fixed_prompts(config.captions)
    folders = {}
    for name in config.models:
        model = load("tiny") if name == "tiny" else load("text2layer", train_model(config, name))
        folders[name] = config.out / "outputs" / name
        make_outputs(model, prompts, folders[name], {}, lambda *at, of=name: report(of, *at))
    side = config.model.feed.size
    found = run_protocol(
        folders, config.shards, config.out / "protocol", judges, report, side, config.captions
    )
    for line in lines_of_protocol(found):
        logger.info(line)


def main(path: Path) -> None:
    """The command line."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    compare(read_config(Config, path), Judges(1))


if __name__ == "__main__":
    main(path_argument(__doc__))
