"""Examples with their faults, people's labels, and the filter that is kept in a folder."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

pytest.importorskip("torch")
pytest.importorskip("cv2")

from multiplane.data.labels import LabelLog
from multiplane.data.layer_photos import faults
from multiplane.data.layer_photos.examples import judged_completion, judged_mask
from multiplane.data.layer_photos.human import labelled_examples
from multiplane.data.layer_photos.quality import QualityFilter, quality_id, read_note
from small_quality import small_quality

SIDE = 96
RNG = np.random.default_rng(3)
BEHIND = np.clip(
    np.linspace(0.2, 0.8, SIDE, dtype=np.float32)[:, None, None]
    + RNG.normal(0, 0.02, (SIDE, SIDE, 3)).astype(np.float32),
    0,
    1,
)
down, across = np.mgrid[:SIDE, :SIDE]
MASK = (np.hypot(down - 50, across - 44) < 22).astype(np.float32)
SHOWN = np.where(MASK[..., None] > 0, np.float32([0.9, 0.1, 0.1]), BEHIND).astype(np.float32)


@pytest.mark.parametrize("seed", range(12))
def test_masks_have_the_fault_they_are_named_for(seed: int) -> None:
    rng = np.random.default_rng(seed)
    whole = float(MASK.sum())
    assert judged_mask(faults.good_mask(MASK, rng), MASK) is True
    less = faults.incomplete(MASK, rng)
    assert (less <= MASK + 1e-6).all()
    assert 0.2 < less.sum() / whole < 0.8
    more = faults.background_inside(MASK, rng)
    assert more[MASK > 0].mean() > 0.95
    assert float((more * (1 - MASK)).sum()) > 0.25 * whole
    away = faults.elsewhere(MASK, rng)
    assert float((away * MASK).sum()) < 0.05 * whole
    assert away.sum() > 0.2 * whole
    for bad in (less, more, away):
        assert bad.shape == MASK.shape
        assert judged_mask(bad, MASK) is not True


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("name", list(faults.COMPLETION_FAULTS))
def test_completions_are_spoilt_where_the_object_was(name: str, seed: int) -> None:
    rng = np.random.default_rng(seed)
    spoilt = faults.COMPLETION_FAULTS[name](BEHIND, SHOWN, MASK, rng)
    both = np.maximum(MASK, MASK[:, ::-1])
    far = faults.grown(both, 8) == 0
    np.testing.assert_allclose(spoilt[far], BEHIND[far], atol=1e-4)
    apart = np.abs(spoilt - BEHIND)[faults.grown(both, 4) > 0]
    assert apart.max() > 0.1
    assert judged_completion(BEHIND, BEHIND, MASK) is True


def test_the_same_seed_plants_the_same_fault() -> None:
    for plant in (*faults.MASK_FAULTS.values(), faults.good_mask):
        one, other = (plant(MASK, np.random.default_rng(5)) for _ in range(2))
        np.testing.assert_array_equal(one, other)


def test_between_good_and_bad_nobody_says() -> None:
    part = MASK.copy()
    part[:37] = 0
    overlap = part.sum() / MASK.sum()
    assert 0.8 < overlap < 0.88
    assert judged_mask(part, MASK) is None
    assert judged_completion(BEHIND + 0.06, BEHIND, MASK) is None
    assert judged_completion(BEHIND + 0.2, BEHIND, MASK) is False


def test_peoples_labels_become_examples(tmp_path: Path) -> None:
    folder = tmp_path / "pictures"
    folder.mkdir()
    for name in ("a", "b", "c"):
        Image.fromarray((SHOWN * 255).astype(np.uint8)).save(folder / f"{name}.composite.png")
        Image.fromarray((BEHIND * 255).astype(np.uint8)).save(folder / f"{name}.background.png")
        rgba = np.dstack([SHOWN, MASK])
        Image.fromarray((rgba * 255).astype(np.uint8)).save(folder / f"{name}.foreground.png")
    with LabelLog(tmp_path / "mask.jsonl", "mask") as log:
        log.decide("a", "good")
        log.decide("b", "bad", [1])
        log.decide("c", "skip")
    found = list(labelled_examples(folder, tmp_path / "mask.jsonl", "mask"))
    assert [(each.root, each.good, each.fault) for each in found] == [
        ("a", True, ""),
        ("b", False, "by hand"),
    ]
    assert found[0].mask is not None
    np.testing.assert_array_equal(found[0].mask > 0.5, MASK > 0.5)
    with LabelLog(tmp_path / "completion.jsonl", "completion") as log:
        log.decide("gone", "good")
    with pytest.raises(ValueError, match="'gone', which is not in"):
        list(labelled_examples(folder, tmp_path / "completion.jsonl", "completion"))


def test_a_filter_comes_back_from_its_folder(tmp_path: Path) -> None:
    folder = small_quality(tmp_path / "q", threshold=0.4)
    one, other = (QualityFilter.load(folder).score(SHOWN, MASK, BEHIND) for _ in range(2))
    assert one == other
    assert one.kept == (one.mask >= 0.4 and one.completion >= 0.4)
    assert QualityFilter.load(small_quality(tmp_path / "all")).score(SHOWN, MASK, BEHIND).kept
    none = QualityFilter.load(small_quality(tmp_path / "none", 1.1)).score(SHOWN, MASK, BEHIND)
    assert not none.kept
    assert "mask score" in none.reason
    assert "completion score" in none.reason
    assert quality_id(folder) != quality_id(tmp_path / "all")


def test_the_completion_may_decide_alone(tmp_path: Path) -> None:
    strict = QualityFilter.load(small_quality(tmp_path / "none", 1.1))
    neurons = {"mask": strict.mask, "completion": strict.completion}
    alone = QualityFilter(strict.folder, strict.note, neurons, ("completion",))
    scores = alone.score(SHOWN, MASK, BEHIND)
    assert "completion score" in scores.reason
    assert "mask" not in scores.reason
    assert scores.mask == strict.score(SHOWN, MASK, BEHIND).mask
    assert quality_id("completion") != quality_id("embedded")


def test_a_folder_that_is_none_says_so(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="quality_classifiers"):
        QualityFilter.load(tmp_path)
    folder = small_quality(tmp_path / "q")
    table = json.loads((folder / "config.json").read_text())
    table["mask"]["views"] = ["picture", "object", "rest"]
    (folder / "config.json").write_text(json.dumps(table))
    with pytest.raises(ValueError, match="its views give 72"):
        QualityFilter.load(folder)
    (folder / "config.json").write_text('{"side": 32, "shade": 1}')
    with pytest.raises(ValueError, match="unknown key 'shade'"):
        read_note(folder)
