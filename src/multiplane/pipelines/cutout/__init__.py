"""The family `cutout`: photographs taken apart by a salient matte and a completed background."""

from multiplane.pipelines.cutout.candidates import NoSubject
from multiplane.pipelines.cutout.family import CutoutFamily

__all__ = ["CutoutFamily", "NoSubject"]
