"""LayerFlow's published checkpoints: what there is, and how they become diffusers and PEFT."""
