"""An ordinary VAE as others trained it, to build on and never change."""

from __future__ import annotations

import hashlib

import torch
from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
from torch import nn


def load_frozen_vae(name: str, subfolder: str = "") -> AutoencoderKL:
    """The `AutoencoderKL` of a folder or a hub id, float32, in evaluation mode, without gradients.

    subfolder: where it lies in a whole pipeline, "vae" for Stable Diffusion's. Raises OSError where
    there is none."""
    vae = AutoencoderKL.from_pretrained(name, subfolder=subfolder or None)
    return vae.eval().requires_grad_(False)


def fingerprint(network: nn.Module) -> str:
    """sha256 over the names and bytes of a network's weights."""
    digest = hashlib.sha256()
    for name, value in sorted(network.state_dict().items()):
        digest.update(name.encode())
        digest.update(value.detach().cpu().contiguous().view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()
