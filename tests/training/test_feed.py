"""From shards to pools: what is drawn how often, and what is refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from multiplane.models.rgba_autoencoder import RGBAAutoencoder
from multiplane.training.feed import FeedConfig, load_feed
from multiplane.training.pools import BackgroundPool, ForegroundPool, Prompts, Turns, opaque_boxes
from multiplane.training.previews import preview_sheet
from multiplane.training.sheets import write_sheet
from small_world import AUTOENCODER, SIZE, WordEncoder, a_denoiser, write_shards

CPU = torch.device("cpu")


def test_a_feed_holds_its_split_alone(tmp_path: Path) -> None:
    write_shards(tmp_path / "shards")
    config = FeedConfig(tmp_path / "shards", SIZE, background_size=40, background_crops=3)
    pairs = {split: load_feed(config, split, WordEncoder(), CPU) for split in ("train", "heldout")}  # pyright: ignore
    for split, count in (("train", 3), ("heldout", 1)):
        feed, prompts = pairs[split]
        assert feed.foregrounds.pixels.shape == (count, 4, SIZE, SIZE)
        assert feed.backgrounds.pixels.shape == (3, 3, 40, 40)
        assert prompts.texts[0] == ""
        assert f"plate {split}" in prompts.texts
        scenes = feed.scenes(4, 0.0, torch.Generator().manual_seed(0))
        said = {prompts.texts[row] for row in scenes.background_prompt.tolist()}
        assert said == {f"plate {split}"}
    assert "white ball" not in pairs["train"][1].texts


def test_a_style_that_is_not_there_is_named(tmp_path: Path) -> None:
    write_shards(tmp_path / "shards")
    config = FeedConfig(tmp_path / "shards", SIZE, {"3d": 1.0, "flatt": 1.0}, 40)
    with pytest.raises(ValueError, match="no train foreground of style flatt: give it no weight"):
        load_feed(config, "train", WordEncoder(), CPU)  # pyright: ignore
    unused = FeedConfig(tmp_path / "shards", SIZE, {"3d": 1.0, "flatt": 0.0}, 40)
    load_feed(unused, "train", WordEncoder(), CPU)  # pyright: ignore


def test_materials_are_of_the_training_split_and_of_a_style(tmp_path: Path) -> None:
    write_shards(tmp_path / "shards")
    config = FeedConfig(tmp_path / "shards", SIZE, {"3d": 1.0, "glass": 0.5}, 40)
    made, _ = load_feed(config, "train", WordEncoder(), CPU)  # pyright: ignore
    assert set(made.foregrounds.styles) == {"3d", "glass"}
    heldout, _ = load_feed(config, "heldout", WordEncoder(), CPU)  # pyright: ignore
    assert set(heldout.foregrounds.styles) == {"3d"}
    assert heldout.alone(2, torch.Generator().manual_seed(0))[0].shape == (2, 4, SIZE, SIZE)
    alone = FeedConfig(tmp_path / "shards", SIZE, {"3d": 0.0, "glass": 0.5}, 40)
    with pytest.raises(ValueError, match="no drawing style has a weight"):
        load_feed(alone, "train", WordEncoder(), CPU)  # pyright: ignore


def test_styles_are_drawn_by_weight_and_concepts_evenly() -> None:
    """One concept of nine pictures and one of a single one take turns alike."""
    pixels = torch.zeros(14, 4, 8, 8, dtype=torch.uint8)
    concepts = ["many"] * 9 + ["one"] + ["flat"] * 4
    styles = ["3d"] * 10 + ["flat"] * 4
    pool = ForegroundPool.build(pixels, concepts, styles, [[0]] * 14)
    generator = torch.Generator().manual_seed(0)
    counts = torch.bincount(pool.draw(4000, {"3d": 3.0, "flat": 1.0}, generator), minlength=14)
    assert float(counts[10:].sum() / 4000) == pytest.approx(0.25, abs=0.03)
    assert float(counts[9] / counts[:10].sum()) == pytest.approx(0.5, abs=0.04)
    assert float(counts[:9].min()) > 100
    with pytest.raises(ValueError, match="no style of"):
        pool.draw(1, {"sketch": 1.0}, generator)


def test_a_doubled_picture_comes_twice_as_often() -> None:
    """A concept takes turns by its largest weight, its pictures share them by their own."""
    pixels = torch.zeros(7, 4, 8, 8, dtype=torch.uint8)
    concepts = ["plain", "plain", "new", "mixed", "mixed", "mixed", "never"]
    weights = [1.0, 1.0, 2.0, 0.5, 0.5, 1.0, 0.0]
    pool = ForegroundPool.build(pixels, concepts, ["3d"] * 7, [[0]] * 7, weights)
    drawn = pool.draw(20000, {"3d": 1.0}, torch.Generator().manual_seed(3))
    shares = (torch.bincount(drawn, minlength=7) / len(drawn)).tolist()
    # turns 1 : 2 : 1 of plain, new, mixed
    assert shares == pytest.approx([0.125, 0.125, 0.5, 0.0625, 0.0625, 0.125, 0], abs=0.01)


def test_a_doubled_photograph_comes_twice_as_often_whatever_its_crops() -> None:
    wide, square = torch.zeros(3, 8, 32).byte(), torch.zeros(3, 8, 8).byte()
    pool = BackgroundPool.build([wide, square], [[1], [2]], 8, 4, [1.0, 2.0])
    drawn = pool.draw(9000, torch.Generator().manual_seed(0))
    shares = (torch.bincount(drawn) / len(drawn)).tolist()
    assert shares == pytest.approx([1 / 12] * 4 + [2 / 3], abs=0.015)


@pytest.mark.parametrize("first", [0.0, 0.2499999, 0.25, 0.5, 0.7499999, 1 - 2**-24])
@pytest.mark.parametrize("second", [0.0, 1 / 3, 0.5, 1 - 2**-24])
def test_alike_weights_draw_by_plain_counting(first: float, second: float) -> None:
    groups = [[0, 1, 2], [3], [4, 5], [6, 7, 8]]
    group = groups[int(first * 4)]
    assert Turns.of(groups, [1.0] * 9).draw(first, second) == group[int(second * len(group))]


@pytest.mark.parametrize("wrong", [-1.0, float("nan"), float("inf")])
def test_weights_that_are_none_are_refused(wrong: float) -> None:
    with pytest.raises(ValueError, match="weight of row 1"):
        Turns.of([[0], [1]], [1.0, wrong])
    with pytest.raises(ValueError, match="every weight is 0"):
        Turns.of([[0], [1]], [0.0, 0.0])


def test_the_weights_of_the_shards_reach_the_feed(tmp_path: Path) -> None:
    """A record that carries a doubled weight is drawn twice as often as its like."""
    write_shards(tmp_path / "shards", weights={"green ball": 2.0})
    config = FeedConfig(tmp_path / "shards", SIZE, background_size=40, background_crops=3)
    feed, prompts = load_feed(config, "train", WordEncoder(), CPU)  # pyright: ignore
    batch = feed.scenes(1500, 0.0, torch.Generator().manual_seed(0))
    said = [prompts.texts[row] for row in batch.foreground_prompt.tolist()]
    assert said.count("green ball") / len(said) == pytest.approx(0.5, abs=0.05)
    assert said.count("red ball") / len(said) == pytest.approx(0.25, abs=0.05)


def test_crops_of_a_photograph_run_over_its_width() -> None:
    wide = torch.arange(90, dtype=torch.uint8).expand(3, 30, 90)
    square = torch.full((3, 30, 30), 7, dtype=torch.uint8)
    pool = BackgroundPool.build([wide, square], [[4], [5]], 10, 3)
    assert pool.photos.groups == [[0, 1, 2], [3]]  # crops that would be the same are one
    assert pool.captions == [[4], [4], [4], [5]]
    lefts = pool.pixels[:3, 0, 0, 0].tolist()
    assert lefts == [1, 31, 61]  # the mean of the first three columns of each
    assert pool.pixels[2, 0, 0, -1] == 88
    drawn = pool.draw(2000, torch.Generator().manual_seed(0))
    assert float((drawn == 3).float().mean()) == pytest.approx(0.5, abs=0.04)


def test_boxes_hold_what_is_opaque() -> None:
    pixels = torch.zeros(2, 4, 10, 10, dtype=torch.uint8)
    pixels[0, 3, 2:5, 6:9] = 255
    pixels[0, 3, 9, 0] = 20  # too faint to count
    boxes = opaque_boxes(pixels)
    torch.testing.assert_close(boxes[0], torch.tensor([0.6, 0.2, 0.9, 0.5]))
    assert boxes[1].tolist() == [0, 0, 1, 1]


def test_prompts_are_encoded_once_each() -> None:
    prompts = Prompts.encode(WordEncoder(), ["red ball", "day", "", "red ball"], batch=2)  # pyright: ignore
    assert prompts.texts == ("", "red ball", "day")
    assert prompts.lookup()["day"] == 2
    assert not prompts.mask[0].any()
    states, mask = WordEncoder()(["red ball"])
    torch.testing.assert_close(prompts.states[1].float(), states[0], atol=2e-3, rtol=1e-3)
    assert torch.equal(prompts.mask[1], mask[0])


def test_a_sheet_shows_rows_of_any_length(tmp_path: Path) -> None:
    red = torch.tensor([1.0, 0, 0, 1]).view(1, 4, 1, 1).expand(3, 4, 16, 16)
    write_sheet([red, red[:1] * 0.5], tmp_path / "sheet.png")
    pixels = np.asarray(Image.open(tmp_path / "sheet.png"))
    assert pixels.shape == (32, 48, 3)
    assert (pixels[:16] == [255, 0, 0]).all()
    board = pixels[16:, 16:]
    assert (board[..., 0] == board[..., 1]).all()
    assert {int(value) for value in np.unique(board)} == {178, 217}
    half = pixels[16:, :16].astype(int)
    assert set(np.unique(half[..., 0] - half[..., 1])) <= {127, 128}


@pytest.mark.parametrize(
    ("prompts", "size"),
    [(("red ball",), (1, 1)), (("red ball",) * 9 + ("red ball over night",), (8, 5))],
)
def test_previews_of_any_number_of_prompts(
    tmp_path: Path, prompts: tuple[str, ...], size: tuple[int, int]
) -> None:
    codec = RGBAAutoencoder(AUTOENCODER).eval()
    preview_sheet(a_denoiser(), codec, WordEncoder(), prompts, tmp_path / "p.png", 1)  # pyright: ignore
    assert Image.open(tmp_path / "p.png").size == (size[0] * SIZE, size[1] * SIZE)
