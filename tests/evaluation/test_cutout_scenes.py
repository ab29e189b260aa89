"""The scenes of the cutout evaluation: what is cut, where it stands, the same bytes every time."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from multiplane.core.composite import over
from multiplane.core.pixels import to_float, to_u8
from multiplane.data.records import Asset
from multiplane.evaluation import cutout_scenes
from multiplane.evaluation.cutout_scenes import (
    CutOut,
    CutoutRecipe,
    SceneStock,
    allowed,
    placed,
    read_stamp,
    read_table,
    shipped_recipe,
    without_specks,
)

SMALL = CutoutRecipe(size=128, seed=3, photographs=3, renders=2, no_landscape=("nasa",))


def disc(side: int, radius: float, colour: tuple[int, int, int] = (200, 60, 20)) -> np.ndarray:
    y, x = np.mgrid[:side, :side] + 0.5 - side / 2
    alpha = np.clip(radius - np.hypot(x, y) + 0.5, 0, 1)
    pixels = np.zeros((side, side, 4), np.uint8)
    pixels[..., :3] = colour
    pixels[..., 3] = np.round(alpha * 255)
    return pixels


def asset(path: Path, kind: str, **changes: object) -> Asset:
    values = {
        "key": path.stem, "path": path, "kind": kind, "concept": path.stem, "root": path.stem,
        "caption": f"a {path.stem}", "captions": (), "tags": (path.stem[:-1],), "group": "",
        "source": "", "licence": "", "style": "", "split": "heldout",
    }  # fmt: skip
    return Asset(**(values | changes))  # pyright: ignore[reportArgumentType]


@pytest.fixture
def stock(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> SceneStock:
    """A stock of four stamps, three renders and three landscapes."""
    made = SceneStock(SMALL)
    stamps = [CutOut(f"s{i}", f"stamp {i}.", "ground", disc(40, 18 - i)) for i in range(4)]
    rng = np.random.default_rng(0)
    plates, renders = [], []
    for index, name in enumerate(("hills0", "hills1", "sea0")):
        path = tmp_path / f"{name}.png"
        Image.fromarray(rng.integers(0, 255, (64, 128, 3), np.uint8)).save(path)
        plates.append(asset(path, "background", horizon=0.4))
        path = tmp_path / f"ball{index}.png"
        Image.fromarray(disc(48, 20)).save(path)
        renders.append(asset(path, "foreground"))
    monkeypatch.setitem(made.__dict__, "photographs", stamps)
    monkeypatch.setitem(made.__dict__, "plates", plates)
    monkeypatch.setitem(made.__dict__, "renders", renders)
    return made


def test_scenes_hold_exact_truth_and_objects_as_they_are(stock: SceneStock) -> None:
    scenes = list(stock.scenes())
    assert [scene.key for scene in scenes] == [
        *("photo-000", "photo-001", "photo-002", "3d-000", "3d-001")
    ]
    assert len({scene.caption for scene in scenes}) == 5
    for scene in scenes:
        background = np.dstack([scene.background, np.full((128, 128), 255, np.uint8)])
        shown = over(to_float(scene.foreground), to_float(background))[..., :3]
        np.testing.assert_array_equal(scene.composite, to_u8(shown))
        rows, columns = np.nonzero(scene.foreground[..., 3])
        cut = scene.foreground[rows.min() : rows.max() + 1, columns.min() : columns.max() + 1]
        whole = disc(40, 18) if scene.group == "photo" else disc(48, 20)
        assert max(cut.shape[:2]) <= max(whole.shape[:2])
        assert cut[..., 3].max() == 255
        np.testing.assert_array_equal(cut[len(cut) // 2, cut.shape[1] // 2], [200, 60, 20, 255])
        edge = round(SMALL.margin * SMALL.size)
        assert columns.min() >= edge
        assert columns.max() < 128 - edge
        assert rows.max() < 128 - edge


def test_the_same_recipe_gives_the_same_bytes_and_another_seed_others(stock: SceneStock) -> None:
    first = [scene.composite.tobytes() for scene in stock.scenes()]
    assert [scene.composite.tobytes() for scene in stock.scenes()] == first
    other = SceneStock(replace(SMALL, seed=4))
    other.__dict__.update(
        {name: stock.__dict__[name] for name in ("photographs", "plates", "renders")}
    )
    assert [scene.composite.tobytes() for scene in other.scenes()] != first


def test_no_cut_out_comes_twice_and_too_few_are_said(stock: SceneStock) -> None:
    captions = [scene.caption.partition(".")[0] for scene in stock.scenes()]
    assert len(set(captions)) == len(captions)
    many = SceneStock(replace(SMALL, photographs=5))
    many.__dict__.update(stock.__dict__ | {"recipe": many.recipe})
    with pytest.raises(ValueError, match="5 scenes of 'photo' asked for, there are 4"):
        list(many.scenes())


def test_where_things_stand() -> None:
    recipe = CutoutRecipe(size=100, margin=0.05)
    small = CutOut("s", "", "ground", np.full((20, 10, 4), 255, np.uint8))
    tall = CutOut("t", "", "ground", np.full((80, 10, 4), 255, np.uint8))
    bird = CutOut("b", "", "air", np.full((20, 10, 4), 255, np.uint8))
    rng = np.random.default_rng(0)
    feet = [placed(small, 0.5, recipe, rng)[1] + 20 for _ in range(200)]
    assert min(feet) >= 58  # below the horizon
    assert max(feet) <= 95
    tops = [placed(tall, 0.5, recipe, rng)[1] for _ in range(50)]
    assert min(tops) >= 5
    assert np.mean([top + 80 for top in tops]) > np.mean(feet)  # larger is nearer
    flying = [placed(bird, 0.5, recipe, rng)[1] for _ in range(50)]
    assert max(flying) + 20 <= 50
    assert max(placed(bird, 0.1, recipe, rng)[1] for _ in range(9)) == 5  # no room: at the top


def test_specks_and_faint_dirt_are_taken_off() -> None:
    pixels = np.zeros((60, 60, 4), np.uint8)
    pixels[10:50, 10:50, 3] = 255  # the object
    pixels[2:4, 2:4, 3] = 255  # a speck: 4 of 1600 pixels
    pixels[0, :, 3] = 4  # faint dirt
    pixels[52:58, 10:20, 3] = 255  # a part that is no speck: 60 pixels
    alpha = without_specks(pixels)[..., 3]
    assert alpha[10:50, 10:50].min() == 255
    assert not alpha[:5].any()
    assert alpha[52:58, 10:20].min() == 255


def test_objects_too_small_or_too_large_are_left_out() -> None:
    recipe = CutoutRecipe(size=100)
    for side, fits in ((14, False), (15, True), (90, True), (91, False)):
        cutout = CutOut("", "", "ground", np.full((side, side, 4), 255, np.uint8))
        assert allowed(cutout, recipe) is fits


def test_a_stamp_is_cropped_and_captioned(tmp_path: Path) -> None:
    pixels = np.zeros((50, 70, 4), np.uint8)
    pixels[10:30, 20:60] = (1, 2, 3, 255)
    (tmp_path / "animals").mkdir()
    Image.fromarray(pixels).save(tmp_path / "animals" / "cow.png")
    (tmp_path / "animals" / "cow.txt").write_text("A cow.\nde=Eine Kuh.\n", "utf-8")
    cutout = read_stamp(tmp_path, "animals/cow.png", "ground")
    assert (cutout.key, cutout.caption) == ("animals/cow", "A cow.")
    assert cutout.pixels.shape == (20, 40, 4)


def test_the_recipe_and_the_table_that_ship() -> None:
    recipe = shipped_recipe()
    assert (recipe.size, recipe.photographs, recipe.renders) == (768, 100, 50)
    table = read_table()
    assert len({name for name, _ in table}) == len(table) >= recipe.photographs
    assert {stands for _, stands in table} == {"ground", "air"}


def test_plates_with_a_subject_of_their_own_are_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    plates = [asset(Path(name), "background", horizon=0.5) for name in ("sea0", "nasa1", "hills2")]

    class Landscapes:
        def assets(self) -> list[Asset]:
            return plates

    monkeypatch.setitem(cutout_scenes.COLLECTIONS, "landscapes", Landscapes())  # pyright: ignore[reportArgumentType]
    assert [plate.key for plate in SceneStock(SMALL).plates] == ["hills2", "sea0"]


def test_recipes_that_cannot_be_drawn_are_refused() -> None:
    with pytest.raises(ValueError, match="64 or more"):
        CutoutRecipe(size=10)
    with pytest.raises(ValueError, match="most_side"):
        CutoutRecipe(most_side=0.99)
