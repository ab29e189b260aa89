"""The evaluation prompts: drawn once by seed from the concept lists, before any training.

Only concepts that the retrieval gallery also knows are drawn, or retrieval could not score them.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from multiplane.data.assets import read_assets, read_plates

SEED = 20240229
COMBINED = (
    "a red panda|panda|a snowy valley",
    "a penguin|penguin|a sandy desert",
    "a camel|camel|a white snow field",
    "a sailboat|sailboat|a sea of clouds",
    "a hamburger|hamburger|the surface of the moon",
    "a tropical fish|tropical-fish|a misty forest",
    "a snowman|snowman|a sunny beach",
    "a unicorn|unicorn|a green meadow",
    "a dragon|dragon|a city at dusk",
    "a bear|bear|a red desert",
    "a purple umbrella|umbrella|a stormy sea",
    "a robot|robot|an autumn forest",
    "a green frog|frog|a mountain lake",
    "a rocket|rocket|green hills under a blue sky",
    "two red apples|red-apple|a volcanic landscape",
    "a whale|whale|a city skyline at night",
)


def draw_prompts(folder: Path, seed: int = SEED) -> dict[str, Any]:
    """64 prompts of training concepts over training backgrounds; 16 held-out concepts over held-out
    backgrounds; 16 training concepts over backgrounds
    they were not made for, or with a colour or count of their own, written by hand.

    A concept root is drawn once at most, so that no figure fills the list with its variants."""
    rng = random.Random(seed)
    gallery = set(read_assets(folder, ("gallery",), None, 64).concepts)

    def drawn(split: str, count: int) -> list[dict[str, str]]:
        pool = read_assets(folder, ("foreground",), split, 64, styles=("3d",))
        named: dict[str, dict[str, str]] = {}
        for concept, root, captions in zip(pool.concepts, pool.roots, pool.captions, strict=True):
            if concept in gallery:
                named.setdefault(root, {})[concept] = captions[0]
        scenes = [plate.captions[0] for plate in read_plates(folder, split, 16)]
        picked = []
        for root in rng.sample(sorted(named), count):
            concept = rng.choice(sorted(named[root]))
            picked.append(_prompt(named[root][concept], concept, rng.choice(scenes)))
        return picked

    trained = drawn("train", 64)
    heldout = drawn("heldout", 16)
    return {
        "seed": seed,
        "how": "multiplane.data.prompts.draw_prompts over the shards of recipe tiny",
        "train": trained,
        "heldout": heldout,
        "combined": _combined(COMBINED),
    }


def _combined(rows: Sequence[str]) -> list[dict[str, str]]:
    pairs = (tuple(row.split("|")) for row in rows)
    return [_prompt(*pair) for pair in pairs]


def _prompt(foreground: str, concept: str, background: str) -> dict[str, str]:
    return {"foreground": foreground, "concept": concept, "background": background}
