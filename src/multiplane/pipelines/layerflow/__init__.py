"""LayerFlow: layered video on CogVideoX-2B."""

from multiplane.pipelines.layerflow.output import LayerFlowOutput
from multiplane.pipelines.layerflow.pipeline import LayerFlowPipeline

__all__ = ["LayerFlowOutput", "LayerFlowPipeline"]
