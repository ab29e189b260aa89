"""`tiny`: Multiplane's own small model, every row of the task table from one set of weights."""

from multiplane.pipelines.tiny.defaults import TinyDefaults
from multiplane.pipelines.tiny.family import TinyFamily
from multiplane.pipelines.tiny.pipeline import MOTION, TinyPipeline
from multiplane.pipelines.tiny.state import PlaneInput

__all__ = ["MOTION", "PlaneInput", "TinyDefaults", "TinyFamily", "TinyPipeline"]
