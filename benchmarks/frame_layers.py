"""What a clip costs with every token attending to all of every frame, and with frame layers: the
same network of `tiny`, three planes, a prediction and a training step's two passes.

    python benchmarks/frame_layers.py [--frames 8 16] [--repeats 5]

CPU seconds of one thread, the least of some repeats, both kinds in turn in one run; the ratio is
what counts. Weights do not change it, so they are drawn by chance.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from dataclasses import replace

import torch

import multiplane
from multiplane.models.layered_transformer import LayeredTransformer, PlaneLayout
from multiplane.pipelines.tiny import TinyFamily

PLANES = ("background", "foreground", "composite")


def a_call(network: LayeredTransformer, frames: int, training: bool) -> Callable[[], None]:
    """One clip's prediction, or with `training` that and the gradients of every weight."""
    config = network.config
    generator = torch.Generator().manual_seed(0)
    shape = (1, len(PLANES), frames)
    noisy = torch.randn(*shape, config.channels, config.grid, config.grid, generator=generator)
    text = torch.randn(1, 3, config.text_tokens, config.text_channels, generator=generator)
    has_text = torch.ones(1, 3, config.text_tokens, dtype=torch.bool)
    given = torch.zeros(*shape, config.grid, config.grid, dtype=torch.bool)
    layout = PlaneLayout.of(PLANES, frames)

    def call() -> None:
        with torch.set_grad_enabled(training), torch.autocast("cpu", torch.bfloat16):
            made = network(noisy, torch.full((1,), 0.5), text, has_text, given, layout)
            if training:
                made.float().square().mean().backward()

    return call


def least(call: Callable[[], None], repeats: int) -> float:
    """CPU seconds."""
    call()
    taken = []
    for _ in range(repeats):
        start = time.process_time()
        call()
        taken.append(time.process_time() - start)
    return min(taken)


def main(frames: list[int], repeats: int) -> None:
    torch.set_num_threads(1)
    torch.manual_seed(0)
    family = multiplane.load("tiny").family
    assert isinstance(family, TinyFamily)
    config = family.pipeline.denoiser.config
    joint, layered = (
        LayeredTransformer(replace(config, frame_layers=layers)) for layers in (False, True)
    )
    for count in frames:
        for name, training in (("prediction", False), ("training step", True)):
            whole, apart = (least(a_call(n, count, training), repeats) for n in (joint, layered))
            print(
                f"{count} frames, {name}: all tokens together {whole:.2f} s, frame layers "
                f"{apart:.2f} s, {whole / apart:.1f}x"
            )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--frames", type=int, nargs="+", default=[8, 16])
    parser.add_argument("--repeats", type=int, default=5)
    given = parser.parse_args()
    main(given.frames, given.repeats)
