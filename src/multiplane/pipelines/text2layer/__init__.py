"""`text2layer`: a scene of two layers from one caption, by latent diffusion over a joint latent."""

from multiplane.pipelines.text2layer.family import Text2LayerFamily
from multiplane.pipelines.text2layer.pipeline import Text2LayerDefaults, Text2LayerPipeline

__all__ = ["Text2LayerDefaults", "Text2LayerFamily", "Text2LayerPipeline"]
