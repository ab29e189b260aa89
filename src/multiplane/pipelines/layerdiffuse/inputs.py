"""A call's pictures, read, checked against its mode and brought to its batch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from multiplane.pipelines.layerdiffuse.control import per_plane
from multiplane.pipelines.layerdiffuse.modes import Workflow
from multiplane.pipelines.layerdiffuse.pictures import (
    PaddedCanvas,
    fit_size,
    read_masks,
    read_pictures,
)
from multiplane.pipelines.layerdiffuse.run import Inputs, Source
from multiplane.pipelines.layerdiffuse.settings import Settings


def read_given(workflow: Workflow, planes: Mapping[str, Any]) -> dict[str, Tensor]:
    """The conditions, (n, 4, H, W) each. Raises ValueError when they are not those of the mode."""
    needed = workflow.conditions
    if set(planes) != set(needed):
        got = ", ".join(planes) or "none"
        want = " and ".join(needed)
        raise ValueError(
            f"mode {workflow.name!r} takes "
            + (f"planes={{...}} with {want}" if needed else "no given planes")
            + f", got {got}"
        )
    return {name: read_pictures(name, planes[name]) for name in needed}


def named(workflow: Workflow, what: str, value: Any) -> dict[str, Any]:
    """A picture, or pictures by plane, by plane: a bare one is for the first plane the last step
    makes. Raises ValueError for a plane that is not made."""
    if value is None:
        return {}
    if not isinstance(value, Mapping):
        return {workflow.steps[-1].streams[0]: value}
    for name in value:
        if name not in workflow.streams:
            raise ValueError(
                f"{what} is for {name!r}, which mode {workflow.name!r} does not make: it makes "
                f"{', '.join(workflow.streams)}"
            )
    return dict(value)


def canvas_of(
    width: int | None, height: int | None, pictures: Sequence[Tensor], default: int
) -> PaddedCanvas:
    """The asked size; what is not asked, from the first picture; without one the base's own."""
    if pictures:
        own_height, own_width = pictures[0].shape[-2:]
    else:
        own_height = own_width = default
    return PaddedCanvas.of(
        own_width if width is None else width, own_height if height is None else height
    )


def read_sources(
    workflow: Workflow, images: Mapping[str, Tensor], keep: Any, canvas: PaddedCanvas, s: Settings
) -> dict[str, Source]:
    """What made planes start from. Raises ValueError for a keep mask without its picture, or of
    another size than the canvas."""
    masks = {n: read_masks(n, m) for n, m in named(workflow, "keep", keep).items()}
    for name in masks:
        if name not in images:
            raise ValueError(f"keep for {name} needs the picture it keeps: give image for it")
    size = (canvas.width, canvas.height)
    sources = {}
    for name, image in images.items():
        mask = masks.get(name)
        if mask is not None:
            for what, found in (("image", image), ("keep", mask)):
                if tuple(found.shape[-2:]) != size[::-1]:
                    raise ValueError(
                        f"{what} of {name} is {found.shape[-1]} x {found.shape[-2]}, the picture "
                        f"to make {size[0]} x {size[1]}: kept pixels stay where they are, so the "
                        "sizes must be the same"
                    )
            mask = to_count(f"keep of {name}", mask, s)
        sources[name] = Source(to_count(name, fit_size(image, size), s), mask)
    return sources


def read_control(
    workflow: Workflow, images: Any, nets: int, s: Settings
) -> dict[str, list[Tensor]]:
    """Control pictures by plane, one a ControlNet. Raises ValueError when there is no ControlNet or
    the number of pictures is another."""
    if images is None:
        return {}
    if nets == 0:
        raise ValueError(
            "control_image needs a ControlNet: pipeline.register_modules(controlnet=...) first"
        )
    read = {}
    for name, own in per_plane(images, workflow.streams).items():
        each = [own] if nets == 1 else list(own)
        if len(each) != nets:
            raise ValueError(f"{len(each)} control pictures of {name} for {nets} ControlNets")
        # A control picture is read as an opaque one whatever plane it steers.
        pictures = [read_pictures("composite", one) for one in each]
        read[name] = [to_count(f"the control picture of {name}", one, s) for one in pictures]
    return read


def read_inputs(
    workflow: Workflow,
    planes: Mapping[str, Any],
    image: Any,
    keep: Any,
    control: Any,
    canvas_args: tuple[int | None, int | None, int],
    nets: int,
    settings: Settings,
) -> tuple[Inputs, PaddedCanvas]:
    """Every picture of a call and the canvas they lie on."""
    given = read_given(workflow, planes)
    images = {
        name: read_pictures(name, one) for name, one in named(workflow, "image", image).items()
    }
    canvas = canvas_of(
        canvas_args[0], canvas_args[1], [*given.values(), *images.values()], canvas_args[2]
    )
    sources = read_sources(workflow, images, keep, canvas, settings)
    if settings.hires is not None and any(one.keep is not None for one in sources.values()):
        raise ValueError(
            "keep leaves pixels as they are and hires enlarges them: run the inpainting first, "
            "then pass its result as image with hires"
        )
    whole = {name: to_count(name, one, settings) for name, one in given.items()}
    return Inputs(whole, sources, read_control(workflow, control, nets, settings)), canvas


def to_count(name: str, pictures: Tensor, settings: Settings) -> Tensor:
    """(1, ...) or one a prompt -> one a picture of the batch. Raises ValueError otherwise."""
    found = len(pictures)
    if found == 1:
        return pictures.expand(settings.count, *pictures.shape[1:])
    if found == settings.batch:
        return torch.repeat_interleave(pictures, settings.num_images_per_prompt, dim=0)
    raise ValueError(
        f"{found} pictures of {name} for {settings.batch} prompts: give one, or one a prompt"
    )
