import torch

from multiplane.core.config import to_table
from multiplane.models.patches import PixelPatches, PixelPatchesConfig
from multiplane.models.rgba_autoencoder import RGBAAutoencoder, RGBAAutoencoderConfig
from multiplane.models.weights_io import CONFIG, load_network, save_network

TINY = RGBAAutoencoderConfig(
    size=32,
    patch=2,
    encoder_channels=(8, 8, 8),
    decoder_channels=(8, 8, 8),
    blocks=1,
    latent_channels=4,
)


def test_shapes_and_latent_statistics() -> None:
    model = RGBAAutoencoder(TINY)
    picture = torch.randn(2, 4, 32, 32)
    assert model.encode(picture).shape == (2, 4, 4, 4)
    assert model.decode(torch.randn(2, 4, 4, 4)).shape == picture.shape
    plain = model.encode(picture)
    model.latent_mean.fill_(2.0)
    model.latent_std.fill_(4.0)
    torch.testing.assert_close(model.encode(picture), (plain - 2) / 4)
    torch.testing.assert_close(model.decode((plain - 2) / 4), model.decoder(plain))


def test_it_learns_a_picture() -> None:
    torch.manual_seed(0)
    model = RGBAAutoencoder(TINY)
    picture = torch.rand(1, 4, 32, 32).round() * 2 - 1
    picture = torch.nn.functional.avg_pool2d(picture, 5, 1, 2)
    optimizer = torch.optim.AdamW(model.parameters(), 3e-3)
    losses = []
    for _ in range(200):
        loss = (model.decode(model.encode(picture)) - picture).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.25 * losses[0]


def test_a_saved_network_comes_back(tmp_path) -> None:
    model = RGBAAutoencoder(TINY).eval()
    save_network(model, tmp_path, to_table(TINY))
    again = load_network(RGBAAutoencoder, RGBAAutoencoderConfig, tmp_path)
    assert again.config == TINY
    picture = torch.randn(1, 4, 32, 32)
    torch.testing.assert_close(again.encode(picture), model.encode(picture))


def test_what_does_not_fit_is_said(tmp_path) -> None:
    import pytest

    model = RGBAAutoencoder(TINY)
    save_network(model, tmp_path, to_table(TINY))
    text = (tmp_path / CONFIG).read_text().replace('"latent_channels": 4', '"latent_channels": 5')
    (tmp_path / CONFIG).write_text(text)
    with pytest.raises(ValueError, match="does not fit"):
        load_network(RGBAAutoencoder, RGBAAutoencoderConfig, tmp_path)
    (tmp_path / CONFIG).unlink()
    with pytest.raises(FileNotFoundError, match=r"config\.json"):
        load_network(RGBAAutoencoder, RGBAAutoencoderConfig, tmp_path)


def test_pixel_patches_are_exact() -> None:
    codec = PixelPatches(PixelPatchesConfig(8))
    picture = torch.randn(2, 4, 32, 32)
    assert codec.encode(picture).shape == (2, 256, 4, 4)
    assert torch.equal(codec.decode(codec.encode(picture)), picture)
