"""Multiplane: layered pictures from prompts, planes and photos, alpha kept all the way."""

__version__ = "0.1.0"
