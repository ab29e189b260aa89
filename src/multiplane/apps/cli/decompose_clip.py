"""`multiplane decompose` of a clip: footage in, a folder of layers out."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from multiplane.apps.cli.terminal import progress_shown, say, say_json, show_summary, summary_of
from multiplane.core.request import RequestError

STILL_ONLY = {"layers": 1, "split": False, "candidates": 1, "keep_flat": False}
CLIP_ONLY = {"every": 1, "camera": "auto", "codec": "ffv1", "crf": None, "steady": True}


def is_footage(source: Path) -> bool:
    """Whether a source is a clip to be taken apart. A folder is one of photographs, unless it is a
    layers folder."""
    from multiplane.io.clips import is_clip, is_clip_folder

    return is_clip_folder(source) if source.is_dir() else is_clip(source)


def check_only(given: Mapping[str, Any], defaults: Mapping[str, Any], where: str) -> None:
    """Raises RequestError for options that mean nothing here. where: "for ..."."""
    named = [name for name, default in defaults.items() if given[name] != default]
    if named:
        listed = ", ".join(f"--{name.replace('_', '-')}" for name in named)
        raise RequestError(f"{listed}: {where}")


def decompose_clip(
    source: Path, output: Path, asked: Mapping[str, Any], resume: bool, as_json: bool
) -> None:
    """Take one clip apart and say what was found, and how far the layers are from the footage."""
    from multiplane.engine.footage import decompose_footage
    from multiplane.io.clips import is_clip_folder

    if resume and is_clip_folder(output):
        said = {"files": [{"path": str(output)}], "skipped": True}
        say_json(said) if as_json else say(f"{output} is already there")
        return
    with progress_shown("decompose", None) as progress:
        made = decompose_footage(source, output, progress=progress, **asked)
    error = {"psnr": made.error.psnr, "mean": made.error.mean, "maximum": made.error.maximum}
    if as_json:
        say_json({**summary_of(made.clip, [output]), "delivered": error, "seconds": made.seconds})
        return
    show_summary(made.clip, [output], sum(made.seconds.values()))
    gathered = made.report["gathered"]
    if gathered is not None:
        say(f"  of what the subject hides, {gathered:.0%} was seen in other frames")
    say(
        f"  the layers together are at most {error['maximum'] * 255:.1f}/255 from the footage, "
        f"{error['mean'] * 255:.2f}/255 in the mean"
    )
