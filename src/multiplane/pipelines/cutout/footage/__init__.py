"""Footage taken apart: what the engine's two sweeps over a clip do with each frame."""
