import pytest
import torch

from multiplane.core.config import to_table
from multiplane.models.codecs import load_codec
from multiplane.models.patches import PixelPatches, PixelPatchesConfig
from multiplane.models.rgba_autoencoder import RGBAAutoencoder, RGBAAutoencoderConfig
from multiplane.models.weights_io import CONFIG, WEIGHTS, load_network, save_network

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


def test_the_training_pass_is_encoder_and_decoder_with_noise_between() -> None:
    model = RGBAAutoencoder(TINY)
    picture, noise = torch.randn(2, 4, 32, 32), torch.randn(2, 4, 4, 4)
    raw, decoded = model(picture, noise, 0.3)
    torch.testing.assert_close(raw, model.encoder(picture))
    torch.testing.assert_close(decoded, model.decoder(raw + 0.3 * noise))


def test_unequal_stages_are_refused() -> None:
    with pytest.raises(ValueError, match=r"decoder_channels \(8,\) must have as many stages"):
        RGBAAutoencoderConfig(encoder_channels=(8, 8), decoder_channels=(8,))


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
    model = RGBAAutoencoder(TINY)
    save_network(model, tmp_path, to_table(TINY))
    text = (tmp_path / CONFIG).read_text().replace('"latent_channels": 4', '"latent_channels": 5')
    (tmp_path / CONFIG).write_text(text)
    with pytest.raises(ValueError, match="does not fit"):
        load_network(RGBAAutoencoder, RGBAAutoencoderConfig, tmp_path)
    weights = (tmp_path / WEIGHTS).read_bytes()
    (tmp_path / WEIGHTS).write_bytes(weights[: len(weights) // 2])
    with pytest.raises(ValueError, match=r"model\.safetensors cannot be read"):
        load_network(RGBAAutoencoder, RGBAAutoencoderConfig, tmp_path)
    (tmp_path / WEIGHTS).unlink()
    with pytest.raises(FileNotFoundError, match=r"model\.safetensors is missing"):
        load_network(RGBAAutoencoder, RGBAAutoencoderConfig, tmp_path)
    (tmp_path / CONFIG).unlink()
    with pytest.raises(FileNotFoundError, match=r"config\.json"):
        load_network(RGBAAutoencoder, RGBAAutoencoderConfig, tmp_path)


def test_pixel_patches_are_exact() -> None:
    codec = PixelPatches(PixelPatchesConfig(8))
    picture = torch.randn(2, 4, 32, 32)
    assert codec.encode(picture).shape == (2, 256, 4, 4)
    assert torch.equal(codec.decode(codec.encode(picture)), picture)
    assert codec.config.latent_channels == 256


@pytest.mark.parametrize(
    "network", [RGBAAutoencoder(TINY), PixelPatches(PixelPatchesConfig(8))], ids=["rgba", "pixels"]
)
def test_a_representation_is_loaded_by_the_class_its_folder_names(tmp_path, network) -> None:
    save_network(network, tmp_path, to_table(network.config))
    again = load_codec(tmp_path)
    assert type(again) is type(network)
    assert again.config == network.config


def test_unknown_representations_are_refused(tmp_path) -> None:
    with pytest.raises(FileNotFoundError, match="train an autoencoder"):
        load_codec(tmp_path)
    (tmp_path / CONFIG).write_text('{"_class_name": "VAE"}')
    with pytest.raises(ValueError, match="unknown representation 'VAE'; known are RGBAAuto"):
        load_codec(tmp_path)
