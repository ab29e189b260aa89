"""The control-signal encoder."""

from __future__ import annotations

import pytest
import torch

from multiplane.models.control_signal import ControlSignalEncoder
from parity_rule import case, fill


@pytest.mark.parity
def test_reference() -> None:
    stored = case("control_encoder_a64")
    signals = fill(ControlSignalEncoder())(stored["image01"] * 2 - 1)
    assert sorted(signals) == [1, 4, 16, 64]
    for tokens, signal in signals.items():
        torch.testing.assert_close(signal, stored[f"signal.{tokens}"], atol=1e-5, rtol=1e-4)


def test_size() -> None:
    with torch.device("meta"):
        encoder = ControlSignalEncoder()
        signals = encoder(torch.zeros(1, 3, 640, 512))
    assert sum(p.numel() for p in encoder.parameters()) == 4_712_736
    assert {t: tuple(s.shape[-2:]) for t, s in signals.items()} == {
        5120: (80, 64),
        1280: (40, 32),
        320: (20, 16),
        80: (10, 8),
    }


def test_another_size_is_refused() -> None:
    with pytest.raises(ValueError, match=r"100 x 64.*multiples of 64"):
        ControlSignalEncoder()(torch.zeros(1, 3, 64, 100))
