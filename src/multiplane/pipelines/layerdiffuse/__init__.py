"""LayerDiffuse on Stable Diffusion 1.5 and SDXL."""

from multiplane.pipelines.layerdiffuse.grey import GreyCheck
from multiplane.pipelines.layerdiffuse.modes import SD15_WORKFLOWS, SDXL_WORKFLOWS, Mode, Workflow
from multiplane.pipelines.layerdiffuse.output import LayerDiffuseOutput
from multiplane.pipelines.layerdiffuse.sd15 import LayerDiffusePipeline
from multiplane.pipelines.layerdiffuse.sdxl import LayerDiffuseXLPipeline
from multiplane.pipelines.layerdiffuse.settings import HiresFix

__all__ = [
    "SD15_WORKFLOWS",
    "SDXL_WORKFLOWS",
    "GreyCheck",
    "HiresFix",
    "LayerDiffuseOutput",
    "LayerDiffusePipeline",
    "LayerDiffuseXLPipeline",
    "Mode",
    "Workflow",
]
