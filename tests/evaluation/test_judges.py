"""The judges: the salient networks under the name and the protocol that evaluation uses."""

from __future__ import annotations

import numpy as np

from multiplane.evaluation.judges import SalientSegmenter
from multiplane.pipelines.cutout.matte import NETWORKS, SalientMatte


def test_a_judge_is_its_network() -> None:
    judge = SalientSegmenter.load("u2netp", threads=1)
    matte = SalientMatte(NETWORKS["u2netp"], SalientMatte.load("u2netp")._folder, threads=1)
    picture = np.random.default_rng(2).random((40, 56, 3), dtype=np.float32)
    assert (judge.name, judge.version) == ("u2netp", NETWORKS["u2netp"].version)
    np.testing.assert_array_equal(judge.cut(picture), matte(picture))
