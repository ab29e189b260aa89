"""The two networks of latent transparency (LayerDiffuse, arXiv 2402.17113).

`OffsetEncoder` hides alpha in the latent of a frozen VAE; `TransparencyDecoder` reads colour and
alpha back. Both keep the published tensor names, so the released files load as they are, and both
are diffusers models with a config: `save_pretrained`, `from_pretrained`, and a place in a pipeline.
The defaults are the published sizes; other widths give small networks of the same kind.

The paper calls its networks as heavy as the VAE; what was released, and stands here, is lighter.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, get_args

from diffusers.configuration_utils import ConfigMixin, register_to_config
from diffusers.models.modeling_utils import ModelMixin
from torch import Tensor, nn

from multiplane.models.transparency_blocks import (
    DownLevel,
    MiddleLevel,
    UpLevel,
    activated,
)

ChannelOrder = Literal["argb", "rgba"]
VaeFeed = Literal["premultiplied", "grey"]


def _check(name: str, value: str, allowed: tuple[str, ...]) -> None:
    if value not in allowed:
        raise ValueError(f"{name} must be one of {', '.join(allowed)}, got {value!r}")


class OffsetEncoder(ModelMixin, ConfigMixin):
    """RGBA -> an offset for the VAE's latent, in units of its posterior's standard deviation.

    block_channels: width of each resolution from the picture inwards; every one after the first
    halves it. latent_channels: 4, or 16 for Flux and SD 3.

    The next three say how the weights want to be used, and travel with them; the network itself
    ignores them, `multiplane.models.transparent_vae` obeys. channel_order: which way alpha and
    colour are stacked. offset_scale: what the offset is multiplied by. vae_feed: how the picture is
    flattened for the VAE.
    """

    @register_to_config
    def __init__(
        self,
        block_channels: Sequence[int] = (32, 64, 128, 256),
        latent_channels: int = 4,
        channel_order: ChannelOrder = "argb",
        offset_scale: float = 300.0,
        vae_feed: VaeFeed = "premultiplied",
    ) -> None:
        super().__init__()
        _check("channel_order", channel_order, get_args(ChannelOrder))
        _check("vae_feed", vae_feed, get_args(VaeFeed))
        parts: list[nn.Module] = []
        before = 4
        for index, width in enumerate(block_channels):
            parts += [nn.Conv2d(before, width, 3, stride=2 if index else 1, padding=1), nn.SiLU()]
            parts += [nn.Conv2d(width, width, 3, padding=1), nn.SiLU()]
            before = width
        last = nn.Conv2d(before, latent_channels, 3, padding=1)
        _zero(last)
        self.blocks = nn.Sequential(*parts, last)

    @property
    def factor(self) -> int:
        """Pixels a side of one latent cell."""
        return 2 ** (len(self.config["block_channels"]) - 1)

    def forward(self, picture: Tensor) -> Tensor:
        """(B, 4, H, W) padded colour and alpha in 0..1, stacked as config.channel_order says
        -> (B, latent_channels, H/factor, W/factor), not yet multiplied by the offset scale."""
        return self.blocks(picture)


def _zero(layer: nn.Conv2d) -> None:
    for parameter in layer.parameters():
        nn.init.zeros_(parameter)


class TransparencyDecoder(ModelMixin, ConfigMixin):
    """(picture, latent) -> alpha and straight colour: a UNet that the latent joins on the way down.

    block_channels: width of each resolution from the picture inwards; the published network has
    seven and so takes sizes in multiples of 64. layers_per_block: resnets a level on the way down,
    one more on the way up. attention_levels: how many of the deepest levels attend.
    latent_channels: 4, or 16 for Flux and SD 3. latent_level: how often the picture is halved
    before the latent is added, so the VAE's factor is 2 ** latent_level. head_width: channels of
    an attention head. norm_groups: groups of every normalisation.
    """

    @register_to_config
    def __init__(
        self,
        block_channels: Sequence[int] = (32, 32, 64, 128, 256, 512, 512),
        layers_per_block: int = 2,
        attention_levels: int = 3,
        latent_channels: int = 4,
        latent_level: int = 3,
        head_width: int = 8,
        norm_groups: int = 4,
    ) -> None:
        super().__init__()
        widths = list(block_channels)
        last = len(widths) - 1
        if not 1 <= latent_level <= last:
            raise ValueError(
                f"latent_level must be 1 to {last} for {len(widths)} levels, got {latent_level}"
            )
        heads = [
            head_width if level > last - attention_levels else None for level in range(last + 1)
        ]
        self.conv_in = nn.Conv2d(3, widths[0], 3, padding=1)
        self.latent_conv_in = nn.Conv2d(latent_channels, widths[latent_level - 1], 1)
        _zero(self.latent_conv_in)
        self.down_blocks, self.up_blocks = nn.ModuleList(), nn.ModuleList()
        skips, hidden = [widths[0]], widths[0]
        for level, width in enumerate(widths):
            before = [hidden] + [width] * (layers_per_block - 1)
            more = level < last
            self.down_blocks.append(DownLevel(before, width, heads[level], norm_groups, more))
            skips += [width] * (layers_per_block + more)
            hidden = width
        self.mid_block = MiddleLevel(hidden, head_width, norm_groups)
        for level in reversed(range(last + 1)):
            width, before = widths[level], []
            for _ in range(layers_per_block + 1):
                before.append(hidden + skips.pop())
                hidden = width
            self.up_blocks.append(UpLevel(before, width, heads[level], norm_groups, level > 0))
        self.conv_norm_out = nn.GroupNorm(norm_groups, hidden, eps=1e-5)
        self.conv_out = nn.Conv2d(hidden, 4, 3, padding=1)

    @property
    def factor(self) -> int:
        """Pixels a side of one latent cell."""
        return 2 ** self.config["latent_level"]

    @property
    def multiple(self) -> int:
        """What height and width must be multiples of."""
        return 2 ** (len(self.config["block_channels"]) - 1)

    def forward(self, picture: Tensor, latent: Tensor) -> Tensor:
        """picture: (B, 3, H, W) in 0..1, what the VAE decodes. latent: (B, C, H/f, W/f), the
        unscaled one that it decodes it from. -> (B, 4, H, W) alpha, red, green, blue, about 0..1,
        not clipped. Raises ValueError for sizes that do not fit."""
        self.check_sizes(picture, latent)
        x = self.conv_in(picture)
        skips = [x]
        for level, block in enumerate(self.down_blocks):
            if level == self.config["latent_level"]:
                # The skip of this level is stored before and stays without the latent.
                x = x + self.latent_conv_in(latent)
            x, more = block(x)
            skips += more
        x = self.mid_block(x)
        per_level = self.config["layers_per_block"] + 1
        for block in self.up_blocks:
            skips, own = skips[:-per_level], skips[-per_level:]
            x = block(x, own)
        return self.conv_out(activated(self.conv_norm_out(x)))

    def check_sizes(self, picture: Tensor, latent: Tensor) -> None:
        """Raise ValueError for sizes that do not fit the network or each other."""
        height, width = picture.shape[-2:]
        if height % self.multiple or width % self.multiple:
            raise ValueError(
                f"the transparency decoder takes sizes in multiples of {self.multiple}, got "
                f"{width} x {height}: pad the picture and crop the result"
            )
        expected = (height // self.factor, width // self.factor)
        if tuple(latent.shape[-2:]) != expected:
            raise ValueError(
                f"a picture of {width} x {height} goes with a latent of {expected[1]} x "
                f"{expected[0]}, got {latent.shape[-1]} x {latent.shape[-2]}"
            )
