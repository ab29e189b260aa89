"""Clips through the video autoencoder: what leaks over their borders, and what comes back."""

from __future__ import annotations

import pytest
import torch

import small_layerflow as small
from multiplane.models.clip_codec import ClipCodec
from multiplane.models.subclips import SubclipLayout

VAE = small.vae()


def clips(layout: SubclipLayout, seed: int = 0) -> dict:
    return {
        clip: small.noise(1, layout.frames, 3, 16, 16, seed=seed + at).clamp(-1, 1)
        for at, clip in enumerate(layout.clips)
    }


@pytest.mark.parametrize("joined", [False, True])
def test_a_clip_apart_does_not_depend_on_its_neighbour(joined: bool) -> None:
    layout = SubclipLayout("rgb", frames=8)
    codec = ClipCodec(VAE, layout, joined)
    given = clips(layout)
    changed = {**given, "foreground": -given["foreground"]}
    with torch.no_grad():
        one, two = codec.encode(given), codec.encode(changed)
    assert torch.equal(one["background"], two["background"]) is not joined
    latents = torch.cat([one[clip] for clip in layout.clips], dim=1)
    moved = latents.clone()
    moved[:, layout.span("foreground")] *= -1
    with torch.no_grad():
        three, four = codec.decode(latents), codec.decode(moved)
    assert torch.equal(three["background"], four["background"]) is not joined
    assert three["background"].shape == given["background"].shape


def test_joined_is_the_autoencoder_on_the_whole_video() -> None:
    """As the published code: one pass over all clips, times the scaling factor."""
    layout = SubclipLayout("rgba", frames=8, lead=True)
    given = clips(layout)
    video = torch.cat([given["foreground"][:, :1], *given.values()], dim=1)
    with torch.no_grad():
        whole = VAE.encode(video.transpose(1, 2)).latent_dist.mode().transpose(1, 2) * 1.15258426
        coded = ClipCodec(VAE, layout, joined=True).encode(given)
        assert whole.shape[1] == layout.latents == 9
        assert torch.equal(torch.cat(list(coded.values()), dim=1), whole)
        back = ClipCodec(VAE, layout, joined=True).decode(whole)
        plain = VAE.decode(whole.transpose(1, 2) / 1.15258426).sample.transpose(1, 2)
    assert plain.shape[1] == layout.video_frames == 33
    for clip in layout.clips:
        assert torch.allclose(back[clip], plain[:, layout.video_span(clip)], atol=1e-6)


def test_the_leading_frame_is_a_latent_of_its_own_and_does_not_come_back() -> None:
    layout = SubclipLayout("rgba", frames=8, lead=True)
    codec = ClipCodec(VAE, layout)
    foreground = small.noise(1, 8, 3, 16, 16)
    with torch.no_grad():
        coded = codec.encode({"foreground": foreground})["foreground"]
        led = torch.cat([foreground[:, :1], foreground], dim=1).transpose(1, 2)
        assert torch.equal(coded, VAE.encode(led).latent_dist.mode().transpose(1, 2) * 1.15258426)
        sequence = small.noise(1, layout.latents, 4, 2, 2)
        nine = VAE.decode(sequence[:, :3].transpose(1, 2) / 1.15258426).sample.transpose(1, 2)
        assert nine.shape[1] == 9
        assert torch.allclose(codec.decode(sequence)["foreground"], nine[:, 1:], atol=1e-6)


def test_a_video_does_not_depend_on_its_batch() -> None:
    layout = SubclipLayout("rgb", frames=8)
    both = {"background": small.noise(2, 8, 3, 16, 16)}
    alone = {"background": both["background"][1:]}
    with torch.no_grad():
        codec = ClipCodec(VAE, layout)
        assert torch.equal(codec.encode(both)["background"][1:], codec.encode(alone)["background"])
