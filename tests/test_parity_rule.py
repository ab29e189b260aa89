import pytest
import torch

from parity_rule import case, normal_input, unit_input, weight

# The first values the rule must give for these names, as published with the parity data.
FIRST = {
    ("conv_in.weight", (32, 3, 3, 3)): [-0.10220877, -0.12229401, 0.01673057, -0.16107966],
    ("conv_in.bias", (32,)): [0.14127636, 0.04082539, 0.00876719],
    ("conv_norm_out.weight", (32,)): [0.86232984, 1.0446537, 0.7438041],
    ("conv_norm_out.bias", (32,)): [-0.04277142, -0.07457685, -0.18729053],
}


@pytest.mark.parity
@pytest.mark.parametrize(("key", "shape"), FIRST)
def test_weights_start_as_published(key: str, shape: tuple[int, ...]) -> None:
    expected = torch.tensor(FIRST[key, shape])
    found = weight(key, shape).flatten()[: len(expected)]
    torch.testing.assert_close(found, expected, atol=1e-7, rtol=0)


@pytest.mark.parity
def test_stored_inputs_follow_from_their_names() -> None:
    stored = case("decoder_forward_a64")
    pixel = normal_input("a64.pixel", (1, 3, 64, 64)).flatten()[:3]
    torch.testing.assert_close(pixel, torch.tensor([-0.1285, 1.1812, 0.7096]), atol=1e-4, rtol=0)
    torch.testing.assert_close(unit_input("a64.pixel", (1, 3, 64, 64)), stored["pixel"])
