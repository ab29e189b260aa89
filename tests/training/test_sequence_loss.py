"""The training loss over sequences of layers, on a tiny CogVideoX."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

import small_layerflow as small
from multiplane.models.layer_embedding import LayerEmbedding
from multiplane.models.subclips import PLANES, SubclipLayout
from multiplane.training.given_planes import draw_given_planes
from multiplane.training.sequence_loss import SCHEDULE, prompts_of_task, sequence_loss
from small_diffusion import seeded

LAYOUT = SubclipLayout("rgba", frames=8)
TASKS = {"": 1.0, "composite": 1.0, "foreground": 1.0, "background": 1.0}


def clips(count: int = 2, seed: int = 0) -> Tensor:
    """Sequences (count, 8 latents, 4, 4, 4): every clip has colours of its own, which vary a
    little."""
    colours = 1.5 * small.noise(len(LAYOUT.clips), 4, seed=11).sign()
    latents = 0.3 * small.noise(count, LAYOUT.latents, 4, 4, 4, seed=seed)
    for clip, colour in zip(LAYOUT.clips, colours, strict=True):
        latents[:, LAYOUT.span(clip)] += colour[:, None, None]
    return latents


class Answer(torch.nn.Module):
    """A transformer that says what it is told to, and remembers what it saw."""

    def __init__(self, value: Tensor | None = None) -> None:
        super().__init__()
        self.inner = small.transformer()
        self.config, self.patch_embed = self.inner.config, self.inner.patch_embed
        self.value = value

    def forward(self, video: Tensor, text: Tensor, times: Tensor, return_dict: bool) -> Any:
        self.seen = video, times
        return (torch.zeros_like(video) if self.value is None else self.value,)


def loss(transformer: Any, given: tuple[str, ...], latents: Tensor, seed: int = 1) -> Tensor:
    text = torch.zeros(len(latents), (2 if "composite" in given else 3) * 8, 32)
    generator = small.generator(seed)
    return sequence_loss(
        transformer, None, small.scheduler(), LAYOUT, latents, text, given, generator
    )


@pytest.mark.parametrize("given", [(), ("composite",), ("foreground",), ("background",)])
def test_it_is_the_published_loss_over_what_is_not_given(given: tuple[str, ...]) -> None:
    """|z - z'|^2 / (1 - abar) with z' = sqrt(abar) x - sqrt(1 - abar) v', from a v' of our own."""
    latents, said = clips(), small.noise(2, LAYOUT.latents, 4, 4, 4, seed=9)
    network = Answer(said)
    found = loss(network, given, latents)
    video, times = network.seen
    mask = LAYOUT.given_latents(given)
    assert torch.equal(video[:, mask], latents[:, mask])
    abar = small.scheduler().alphas_cumprod[times].float().view(-1, 1, 1, 1, 1)
    denoised = abar.sqrt() * video - (1 - abar).sqrt() * said
    published = ((latents - denoised).square() / (1 - abar))[:, ~mask].mean(dim=(1, 2, 3, 4))
    assert torch.allclose(found, published, rtol=1e-4)


def test_what_is_said_of_given_clips_costs_nothing() -> None:
    latents, mask = clips(), LAYOUT.given_latents(("foreground",))
    wrong = torch.zeros_like(latents)
    wrong[:, mask] = 100.0
    before, after = (loss(Answer(v), ("foreground",), latents) for v in (None, wrong))
    assert torch.equal(before, after)


def test_prompts_are_dropped_each_by_itself() -> None:
    text = torch.ones(4000, 3, 2, 1)
    kept = prompts_of_task(text, (), small.generator(), 0.25).unflatten(1, (3, 2))[..., 0]
    assert torch.equal(kept[..., 0], kept[..., 1])  # a prompt goes whole
    shares = kept[..., 0].mean(dim=0)
    assert torch.allclose(shares, torch.full((3,), 0.75), atol=0.03)
    both = (kept[:, 0, 0] * kept[:, 1, 0]).mean()
    assert float(both) == pytest.approx(0.75**2, abs=0.03)
    assert prompts_of_task(text[:1], ("composite",), small.generator()).shape[1] == 4


def test_the_schedule_is_the_one_the_pipeline_samples_with() -> None:
    alphas = small.scheduler().alphas_cumprod
    assert torch.equal(type(small.scheduler())(**SCHEDULE).alphas_cumprod, alphas)
    assert float(alphas[-1]) == pytest.approx(0.0, abs=1e-6)  # nothing of the picture is left


def test_one_set_of_weights_learns_every_task() -> None:
    """Batches with planes given at random lower the loss of each task by a third and more."""
    transformer = small.transformer(num_layers=2).train().requires_grad_(True)
    embedding = seeded(lambda: LayerEmbedding(small.WIDTH, kind="table"), 3).requires_grad_(True)
    learned = [*transformer.parameters(), *embedding.parameters()]
    optimizer = torch.optim.Adam(learned, lr=4e-3)
    latents, generator = clips(4), small.generator(5)
    words = small.noise(4, 3, small.TOKENS, small.TEXT_WIDTH)
    scheduler = small.scheduler()

    def loss_of(given: tuple[str, ...], own: torch.Generator) -> Tensor:
        text = prompts_of_task(words, given, own)
        network = (transformer, embedding, scheduler, LAYOUT)
        return sequence_loss(*network, latents, text, given, own).mean()

    def figures() -> list[float]:
        with torch.no_grad():
            return [
                sum(float(loss_of(tuple(task.split()), small.generator(s))) for s in range(4)) / 4
                for task in TASKS
            ]

    before, drawn = figures(), set()
    for _ in range(80):
        chosen = draw_given_planes(TASKS, PLANES, 1, generator)[0]
        given = tuple(p for p, is_given in zip(PLANES, chosen, strict=True) if is_given)
        drawn.add(given)
        optimizer.zero_grad()
        loss_of(given, generator).backward()
        optimizer.step()
    assert len(drawn) == 4
    for start, end in zip(before, figures(), strict=True):
        assert end < 0.67 * start
    assert float(embedding.table.abs().max()) > 0.01
