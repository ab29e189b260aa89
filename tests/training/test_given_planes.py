"""Which planes are given: by weight, and never all of them."""

from __future__ import annotations

import pytest
import torch

from multiplane.training.given_planes import check_tasks, draw_given_planes

PLANES = ("background", "foreground", "composite")
TASKS = {"": 0.5, "composite": 0.3, "background composite": 0.2, "foreground": 0.0}


def test_tasks_come_as_often_as_their_weights_say() -> None:
    given = draw_given_planes(TASKS, PLANES, 20_000, torch.Generator().manual_seed(0))
    assert given.shape == (20_000, 3)
    assert given.dtype == torch.bool
    share = {
        names: float((given == torch.tensor(flags)).all(dim=1).float().mean())
        for names, flags in {
            "": [False, False, False],
            "composite": [False, False, True],
            "background composite": [True, False, True],
            "foreground": [False, True, False],
        }.items()
    }
    assert share == pytest.approx(TASKS, abs=0.015)
    assert not given.all(dim=1).any()


def test_the_same_generator_draws_the_same() -> None:
    first, second = (
        draw_given_planes(TASKS, PLANES, 64, torch.Generator().manual_seed(4)) for _ in range(2)
    )
    assert torch.equal(first, second)


@pytest.mark.parametrize(
    ("tasks", "message"),
    [
        ({"sky": 1.0}, "no plane 'sky'"),
        ({"composite foreground background": 1.0}, "nothing is left to make"),
        ({"": 1.0, "composite": -0.1}, "0 or more"),
        ({"": 0.0}, "every task has weight 0"),
        ({}, "every task has weight 0"),
    ],
)
def test_tasks_that_make_no_sense_are_refused(tasks: dict[str, float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        check_tasks(tasks, PLANES)
