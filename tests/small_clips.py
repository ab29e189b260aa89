"""A few layered clips of discs over skies, built as `multiplane data build` builds them, and the
configuration of the stages on them."""

from __future__ import annotations

import json
from itertools import islice
from pathlib import Path
from typing import Any

from made_pictures import disc, sky
from multiplane.data.build import build
from multiplane.data.captions import slug
from multiplane.data.recipe import read_recipe
from multiplane.data.records import split_of
from multiplane.models.text_encoder import write_quantized
from small_world import write_text_encoder

SIZE, FRAMES = 32, 4


def names(split: str, count: int, word: str) -> list[str]:
    """Captions that fall into a split."""
    numbered = (f"a red {word} {index}" for index in range(1000))
    return list(islice((name for name in numbered if split_of(slug(name)) == split), count))


def blinking(path: Path, milliseconds: tuple[int, ...] = (100, 300)) -> None:
    """An animated picture: a disc that changes its colour."""
    frames = [disc(48, seed=index) for index in range(len(milliseconds))]
    frames[0].save(
        path,
        save_all=True,
        append_images=frames[1:],
        duration=list(milliseconds),
        loop=0,
        lossless=True,
        exact=True,
    )


def write_sources(root: Path) -> None:
    """`root/moving` animated, `root/stills`, `root/plates`; each has pictures of both splits."""
    for folder, word in (("moving", "ball"), ("stills", "cube"), ("plates", "sky")):
        (root / folder).mkdir(parents=True)
        for split, count in (("train", 3), ("heldout", 2)):
            for number, name in enumerate(names(split, count, word)):
                path = root / folder / f"{word}-{split}-{number}"
                if folder == "moving":
                    blinking(path.with_suffix(".webp"))
                elif folder == "stills":
                    disc(48, seed=number).save(path.with_suffix(".png"))
                else:
                    sky(96, 48, seed=number).save(path.with_suffix(".png"))
                path.with_suffix(".txt").write_text(name + "\n")


def write_clip_recipe(root: Path, **more: Any) -> Path:
    """A recipe over those folders. more: further values of its table."""
    values: dict[str, Any] = {
        "foregrounds": ["folder:moving", "folder:stills"],
        "backgrounds": ["folder:plates"],
        "size": SIZE,
        "frames": FRAMES,
        "seed": 5,
    } | more
    lines = [f"{name} = {json.dumps(value)}\n" for name, value in values.items()]
    path = root / "clips.toml"
    path.write_text("samples_per_shard = 2\n[clips]\n" + "".join(lines))
    return path


def write_clip_world(root: Path) -> Path:
    """Sources, shards in `root/shards/clips` and a text encoder in `root/text`."""
    write_sources(root)
    recipe = write_clip_recipe(root)
    build(read_recipe(recipe), root / "shards", root)
    write_quantized(write_text_encoder(root / "published"), root / "text")
    return root


STAGE = """
out = "{out}"
every = 2
photographs = 0.3
plain = 0.3
stills = 2
ablations = ["video only"]
[run]
out = "unused"
warmup = 1
compile = false
precision = "no"
log_every = 1
save_every = {save}
sample_every = 1000
[data]
shards = "{root}/shards/clips"
text_encoder = "{root}/text"
patch = 8
videos = ["moving"]
images = ["stills"]
heldout = 2
[model]
channels = 256
grid = 4
width = 32
depth = 2
head_channels = 16
text_channels = 12
text_tokens = 4
rotary_split = [1, 2, 2, 3]
frame_layers = true
[base]
steps = {steps}
batch = 2
[stage1]
steps = {steps}
batch = 2
[motion]
steps = {steps}
batch = 2
[content]
steps = {steps}
batch = 2
[motion_lora]
rank = 2
alpha = 2.0
layers = ["frame_qkv", "frame_out"]
[content_lora]
rank = 4
alpha = 4.0
[measure]
clips = 2
strips = 1
sampling = {{ steps = 2, chunk = 1 }}
"""


def write_stage_config(root: Path, name: str, steps: int = 4, save: int = 2) -> Path:
    """Configuration of `clips_stages` on the world in `root`, its output in `root/name`."""
    path = root / f"{name}.toml"
    path.write_text(STAGE.format(root=root, out=root / name, steps=steps, save=save))
    return path
