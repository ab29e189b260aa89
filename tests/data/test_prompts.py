"""The evaluation prompts that were drawn before training."""

from __future__ import annotations

import json
from importlib import resources
from typing import Any

import pytest

from multiplane.data.emoji import root_of
from multiplane.data.plates import read_table
from multiplane.data.prompts import SEED
from multiplane.data.records import split_of


@pytest.fixture(scope="module")
def prompts() -> dict[str, Any]:
    text = (resources.files("multiplane.evaluation") / "prompts.json").read_text("utf-8")
    return json.loads(text)


def test_counts_and_seed(prompts: dict[str, Any]) -> None:
    assert [len(prompts[name]) for name in ("train", "heldout", "combined")] == [64, 16, 16]
    assert prompts["seed"] == SEED


def test_splits_hold(prompts: dict[str, Any]) -> None:
    """Recomputed from the names alone."""
    for name, split in (("train", "train"), ("heldout", "heldout"), ("combined", "train")):
        for prompt in prompts[name]:
            root = root_of(prompt["concept"].replace("-", " "))
            assert split_of(root) == split, prompt


def test_backgrounds_of_training_prompts_are_training_captions(prompts: dict[str, Any]) -> None:
    captions = {captions[0] for _, captions in read_table().values()}
    for prompt in prompts["train"] + prompts["heldout"]:
        assert prompt["background"] in captions
        assert prompt["foreground"]


def test_no_prompt_comes_twice(prompts: dict[str, Any]) -> None:
    every = [(p["foreground"], p["background"]) for n in ("train", "heldout") for p in prompts[n]]
    assert len(set(every)) == len(every)
