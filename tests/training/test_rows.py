import re

import pytest
import torch

from multiplane.core.request import TASK_TABLE
from multiplane.training.rows import (
    Row,
    drop_text,
    given_times,
    heldout_losses,
    keep_rectangles,
    noised,
    row_loss,
)
from small_world import a_denoiser, a_row_feed


def test_rows_parse_and_refuse() -> None:
    row = Row.parse("background -> foreground composite")
    assert row.given == {"background"}
    assert row.wanted == {"foreground", "composite"}
    assert Row.parse("silhouette -> foreground").alone
    for wrong in ("foreground", "sky -> foreground", "foreground ->", "foreground -> foreground"):
        with pytest.raises(ValueError, match="is no row"):
            Row.parse(wrong)


def test_every_row_of_the_task_table_can_be_drawn() -> None:
    feed = a_row_feed()
    for task in TASK_TABLE:
        text = str(task)
        row = Row.parse(text if "->" in text else f"-> {text}")
        batch = feed.draw(row, 3, torch.Generator().manual_seed(0))
        assert batch.clean.shape == (3, len(batch.layout.roles), 1, 4, 4, 4)
        for index, role in enumerate(batch.layout.roles):
            assert bool(batch.given[:, index].all()) == (role in row.given)
            assert bool(batch.given[:, index].any()) == (role in row.given)


def test_given_tokens_stay_at_their_own_time() -> None:
    feed = a_row_feed()
    row = Row.parse("background -> foreground composite")
    batch = feed.draw(row, 4, torch.Generator().manual_seed(0))
    t, clean_time = torch.full((4,), 0.1), torch.ones(4)
    state = noised(batch, batch.given, t, clean_time, torch.Generator().manual_seed(1))
    assert torch.equal(state[:, 0], batch.clean[:, 0])
    assert float((state[:, 1] - batch.clean[:, 1]).abs().mean()) > 0.1


def test_half_of_the_given_planes_are_clean_and_the_rest_a_little_noisy() -> None:
    times = given_times(2000, 0.9, torch.Generator().manual_seed(0))
    noisy = times[times < 1]
    assert 900 < len(noisy) < 1100
    assert 0.9 <= float(noisy.min()) < 0.902
    assert float(noisy.mean()) == pytest.approx(0.95, abs=0.004)


def test_loss_counts_wanted_tokens_only() -> None:
    feed, model = a_row_feed(), a_denoiser()
    row = Row.parse("composite -> foreground background")
    batch = feed.draw(row, 4, torch.Generator().manual_seed(0))
    t = torch.full((4,), 0.5)
    arguments = (batch.given, batch.has_text, t, torch.ones(4))
    loss = row_loss(model, batch, *arguments, torch.Generator().manual_seed(1))
    clean = batch.clean.clone()
    given = batch.given[:, :, :, None].expand_as(clean)
    expected = clean.square().mean(dim=3)[~batch.given].view(4, -1).mean(dim=1) / 0.25
    torch.testing.assert_close(loss, expected)  # the untrained model predicts zero
    assert bool(given.any())


def test_kept_rectangles_add_given_tokens_and_leave_wanted_ones() -> None:
    given = torch.zeros(64, 3, 1, 8, 8, dtype=torch.bool)
    given[:, 0] = True
    kept = keep_rectangles(given, torch.Generator().manual_seed(0))
    assert bool((kept | ~given).all())  # nothing given is taken back
    assert bool((~kept).flatten(1).any(dim=1).all())
    assert bool((kept.flatten(1).sum(dim=1) > 64).any())


def test_kept_rectangles_are_rectangles_of_one_plane() -> None:
    given = torch.zeros(200, 2, 1, 8, 8, dtype=torch.bool)
    kept = keep_rectangles(given, torch.Generator().manual_seed(3))[:, :, 0]
    planes = kept.flatten(2).any(dim=-1)
    assert planes.sum(dim=1).tolist() == [1] * 200
    assert 60 < int(planes[:, 0].sum()) < 140
    outside = 0
    for sample in kept.any(dim=1):
        is_outside = int(sample[::7, ::7].sum()) >= 3  # a rectangle holds one corner at the most
        shape = ~sample if is_outside else sample
        rows, columns = shape.any(dim=1), shape.any(dim=0)
        assert torch.equal(shape, rows[:, None] & columns[None])
        assert int(rows.sum()) >= 2
        assert int(columns.sum()) >= 2
        outside += is_outside
    assert 110 < outside < 170  # mostly the rectangle is what is repaired


def test_a_flat_picture_is_asked_for_by_both_captions() -> None:
    feed = a_row_feed()
    asked: list[str] = []
    inner = feed.encoder

    def listening(prompts):
        asked.extend(prompts)
        return inner(prompts)

    feed.encoder = listening  # pyright: ignore[reportAttributeAccessIssue]
    batch = feed.draw(Row.parse("-> composite"), 6, torch.Generator().manual_seed(0))
    assert all(re.fullmatch(r"(red|green|blue) ball in (night|day)", text) for text in asked)
    assert len(asked) == 6
    assert bool(batch.has_text[:, 0, :4].all())
    feed.draw(Row.parse("-> background foreground composite"), 2, torch.Generator().manual_seed(0))
    assert len(asked) == 6  # the composite of whole scenes has no prompt of its own


def test_dropping_text() -> None:
    batch = a_row_feed().draw(Row.parse("-> foreground"), 200, torch.Generator().manual_seed(0))
    kept = drop_text(batch, 0.5, 0.0, torch.Generator().manual_seed(1)).any(dim=-1)
    assert 60 < int(kept.sum()) < 140
    assert torch.equal(drop_text(batch, 0.0, 0.0, torch.Generator().manual_seed(1)), batch.has_text)


def test_heldout_losses_are_repeatable_and_shuffling_changes_only_what_is_given() -> None:
    feed, model = a_row_feed(), a_denoiser()
    for layer in (model.picture_out, model.to_modulation):  # past the zero start
        torch.nn.init.normal_(layer.weight, std=0.2)
    rows = {text: Row.parse(text) for text in ("-> foreground", "composite -> foreground")}
    one, two = heldout_losses(model, feed, rows, 8), heldout_losses(model, feed, rows, 8)
    assert one == two
    shuffled = heldout_losses(model, feed, rows, 8, shuffle_given=True)
    assert shuffled["-> foreground"] == one["-> foreground"]
    assert shuffled["composite -> foreground"] != one["composite -> foreground"]
