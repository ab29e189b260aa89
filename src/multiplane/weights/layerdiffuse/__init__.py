"""LayerDiffuse's published files: what there is, and how each is loaded, merged and converted."""
