"""The quantised encoder against transformers' own run of the published weights."""

import pytest
import torch
from transformers import BertModel

from multiplane.models.text_encoder import (
    TOKENIZER,
    WEIGHTS,
    TextEncoder,
    dequantize_rows,
    quantize_rows,
    write_quantized,
)
from multiplane.models.weights_io import CONFIG, read_tensors, write_tensors
from small_world import write_text_encoder


def test_states_stay_close_to_the_published_weights(tmp_path) -> None:
    published = write_text_encoder(tmp_path / "published")
    write_quantized(published, tmp_path / "small")
    encoder = TextEncoder.from_pretrained(tmp_path / "small", tokens=8)
    states, mask = encoder(["a red ball", "ball", ""])
    assert states.shape == (3, 8, 12)
    assert mask.sum(dim=1).tolist() == [5, 3, 0]
    reference = BertModel.from_pretrained(published, add_pooling_layer=False).eval()
    ids = torch.tensor([[2, 4, 6, 10, 3]])
    with torch.no_grad():
        expected = reference(input_ids=ids).last_hidden_state[0]
    assert float((states[0, :5] - expected).abs().max()) < 0.05
    assert float(states[0, 5:].abs().max()) == 0
    assert float(states[2].abs().max()) == 0


def test_a_folder_that_is_not_whole_is_named(tmp_path) -> None:
    published = write_text_encoder(tmp_path / "published")
    for name in (TOKENIZER, CONFIG, WEIGHTS):
        write_quantized(published, tmp_path / "small")
        (tmp_path / "small" / name).unlink()
        with pytest.raises(FileNotFoundError, match=name):
            TextEncoder.from_pretrained(tmp_path / "small")
    write_quantized(published, tmp_path / "small")
    tensors = read_tensors(tmp_path / "small" / WEIGHTS)
    del tensors["encoder.layer.0.attention.self.query.weight"]
    write_tensors(tensors, tmp_path / "small" / WEIGHTS)
    with pytest.raises(ValueError, match=r"lacks encoder\.layer\.0\.attention\.self\.query"):
        TextEncoder.from_pretrained(tmp_path / "small")


def test_quantised_rows_are_within_half_a_step() -> None:
    weight = torch.randn(5, 40) * torch.tensor([[1.0], [0.01], [100.0], [1e-3], [0.0]])
    rows, scale = quantize_rows(weight)
    assert rows.dtype == torch.int8
    error = (dequantize_rows(rows, scale) - weight).abs().amax(dim=1)
    assert bool((error <= weight.abs().amax(dim=1) / 127 * 0.6 + 1e-6).all())


def test_long_prompts_are_cut_and_batches_are_their_prompts(tmp_path) -> None:
    write_quantized(write_text_encoder(tmp_path / "p"), tmp_path / "small")
    encoder = TextEncoder.from_pretrained(tmp_path / "small", tokens=4)
    states, mask = encoder(["red ball in a green ball", "red"])
    assert bool(mask[0].all())
    torch.testing.assert_close(encoder(["red"])[0][0], states[1], atol=1e-5, rtol=1e-5)
