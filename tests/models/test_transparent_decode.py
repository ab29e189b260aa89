from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from multiplane.models.latent_transparency import TransparencyDecoder
from multiplane.models.transparent_decode import DecodeOptions, decode_transparent, for_inference
from parity_rule import fill, normal_input, unit_input


def small_decoder() -> TransparencyDecoder:
    network = TransparencyDecoder(
        block_channels=(8, 8, 16, 16, 32), layers_per_block=1, attention_levels=1
    )
    fill(network)
    return network


def inputs(height: int, width: int, batch: int = 1) -> tuple[Tensor, Tensor]:
    picture = unit_input("decode.picture", (batch, 3, height, width))
    return picture, normal_input("decode.latent", (batch, 4, height // 8, width // 8))


def in_numpy(decoder: TransparencyDecoder, picture: Tensor, latent: Tensor) -> np.ndarray:
    """The published eight-fold decode of one picture, on numpy's own flips, turns and sort."""
    results = []
    for flip in (False, True):
        for turns in range(4):
            turned = []
            for values in (picture.numpy()[0], latent.numpy()[0]):
                values = values[:, :, ::-1] if flip else values
                turned.append(torch.from_numpy(np.rot90(values, turns, (1, 2)).copy())[None])
            raw = decoder(*turned).clamp(0, 1).numpy()[0]
            back = np.rot90(raw, -turns, (1, 2))
            results.append(back[:, :, ::-1] if flip else back)
    return np.sort(np.stack(results), axis=0)[3]


@pytest.mark.parametrize("size", [(32, 32), (32, 64), (80, 48)])
def test_eight_passes_of_any_shape(size: tuple[int, int]) -> None:
    decoder = small_decoder()
    picture, latent = inputs(*size)
    found = decode_transparent(decoder, picture, latent).numpy()[0]
    np.testing.assert_allclose(found, in_numpy(decoder, picture, latent), atol=2e-5)


def test_pictures_of_a_batch_are_alone() -> None:
    decoder = small_decoder()
    picture, latent = inputs(32, 48, batch=2)
    both = decode_transparent(decoder, picture, latent)
    single = decode_transparent(decoder, picture[1:], latent[1:])
    assert torch.equal(both[1:], single)


@pytest.mark.parametrize("together", [None, 2, 3, 8])
def test_passes_at_once_change_nothing(together: int | None) -> None:
    decoder = small_decoder()
    picture, latent = inputs(32, 48)
    alone = decode_transparent(decoder, picture, latent, DecodeOptions(together=1))
    found = decode_transparent(decoder, picture, latent, DecodeOptions(together=together))
    torch.testing.assert_close(found, alone, atol=2e-5, rtol=0)


def test_quick_decodes_take_the_middle_of_their_passes() -> None:
    decoder = small_decoder()
    picture, latent = inputs(32, 32)
    one = decode_transparent(decoder, picture, latent, DecodeOptions(passes=1))
    torch.testing.assert_close(one, decoder(picture, latent).clamp(0, 1))
    # The second is the picture upside down: flipped, then half a turn.
    upside_down = decoder(picture.flip(2), latent.flip(2)).clamp(0, 1).flip(2)
    two = decode_transparent(decoder, picture, latent, DecodeOptions(passes=2))
    torch.testing.assert_close(two, (one + upside_down) / 2, atol=2e-5, rtol=0)
    four = decode_transparent(decoder, picture, latent, DecodeOptions(passes=4))
    turned = [decoder(picture.rot90(2, (2, 3)), latent.rot90(2, (2, 3))).rot90(2, (2, 3))]
    for axes in ((2, 3), (3, 2)):
        raw = decoder(picture.flip(3).rot90(1, axes), latent.flip(3).rot90(1, axes))
        turned.append(raw.rot90(-1, axes).flip(3))
    stack = np.stack([one.numpy()] + [each.clamp(0, 1).numpy() for each in turned])
    np.testing.assert_allclose(four.numpy(), np.median(stack, axis=0), atol=2e-5)


def test_laid_out_for_speed_it_is_the_same_network() -> None:
    decoder = small_decoder()
    picture, latent = inputs(64, 64)
    plain = decode_transparent(decoder, picture, latent)
    exact = for_inference(decoder, "float32")
    difference = (decode_transparent(exact, picture, latent) - plain).abs()
    assert difference.max() < 1e-4
    assert difference.mean() < 1e-6
    fast = decode_transparent(for_inference(decoder), picture, latent)
    assert fast.dtype == torch.float32
    assert (fast - plain).abs().mean() < 0.01
    assert decoder.dtype == torch.float32
    with pytest.raises(ValueError, match="must be fast or float32, got 'int8'"):
        for_inference(decoder, "int8")  # pyright: ignore[reportArgumentType]


class Sharpen(TransparencyDecoder):
    """A network that looks at a pixel's direct neighbours and nothing else."""

    def forward(self, picture: Tensor, latent: Tensor) -> Tensor:
        alpha = torch.nn.functional.avg_pool2d(picture[:, :1], 3, 1, 1)
        whole = latent.repeat_interleave(8, 2).repeat_interleave(8, 3)
        return torch.cat([alpha, picture * 0.5 + 0.5 * whole[:, :3].sigmoid()], dim=1)


@pytest.mark.parametrize("size", [(160, 96), (64, 112), (32, 208)])
def test_tiles_of_a_local_network_meet_without_a_seam(size: tuple[int, int]) -> None:
    decoder = Sharpen(block_channels=(8, 8, 16, 16, 32), layers_per_block=1, attention_levels=1)
    picture, latent = inputs(*size)
    picture[..., 0, :] = picture[..., -1, :] = 0
    picture[..., 0] = picture[..., -1] = 0
    whole = decode_transparent(decoder, picture, latent)
    tiled = decode_transparent(decoder, picture, latent, DecodeOptions(tile=64, overlap=32))
    # At a tile's edge a neighbour is missing, but there its weight is least.
    assert (tiled - whole).abs().max() < 0.02
    torch.testing.assert_close(tiled[:, 1:], whole[:, 1:], atol=1e-6, rtol=0)


def test_a_tile_as_large_as_the_picture_is_the_whole_decode() -> None:
    decoder = small_decoder()
    picture, latent = inputs(64, 32)
    whole = decode_transparent(decoder, picture, latent)
    tiled = decode_transparent(decoder, picture, latent, DecodeOptions(tile=64, overlap=16))
    assert torch.equal(tiled, whole)


def test_what_does_not_fit_is_refused() -> None:
    decoder = small_decoder()
    picture, latent = inputs(64, 64)
    with pytest.raises(ValueError, match="multiples of 16, got 60 x 64: pad the picture"):
        decode_transparent(decoder, picture[..., :60], latent)
    with pytest.raises(ValueError, match="multiples of 16 for this network, got 40 and 16"):
        decode_transparent(decoder, picture, latent, DecodeOptions(tile=40, overlap=16))
    with pytest.raises(ValueError, match="passes must be 1, 2, 4 or 8, got 3"):
        DecodeOptions(passes=3)
    with pytest.raises(ValueError, match="overlap must be 0 to half of the tile, 32, got 64"):
        DecodeOptions(tile=64, overlap=64)
