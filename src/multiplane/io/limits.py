"""How large a file may be; checked on declared sizes, before memory is taken."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from multiplane.io.errors import bad_file

# DEFLATE, the densest packing that any of the formats uses once, cannot pass 1032 : 1.
_DENSEST_PACKING = 1032
_SMALL = 256 << 20  # bytes of pixels that a file of any size may unfold to


@dataclass(frozen=True)
class Limits:
    """What a reader accepts. Raise a limit for a file that is known to be good.

    side: pixels along one edge. pixels: of one layer, mask or canvas. decoded_bytes: of all pixels
    together. file_bytes: of the file, or of one member of a zip. nodes: layers and groups.
    depth: groups inside groups.
    """

    side: int = 30_000
    pixels: int = 100_000_000
    decoded_bytes: int = 8 << 30
    file_bytes: int = 4 << 30
    nodes: int = 4_000
    depth: int = 64


DEFAULT_LIMITS = Limits()


class Budget:
    """Counts what one file asks for while it is read, and refuses what passes the limits."""

    def __init__(self, path: Path, limits: Limits = DEFAULT_LIMITS, file_bytes: int | None = None):
        """file_bytes: size on disk; measured from `path` when None."""
        self.path = path
        self.limits = limits
        self.file_bytes = path.stat().st_size if file_bytes is None else file_bytes
        self._decoded = 0
        self._nodes = 0
        if self.file_bytes > limits.file_bytes:
            raise self._over(f"holds {self.file_bytes:,} bytes", f"{limits.file_bytes:,}")

    def picture(self, size: tuple[int, int], pixel_bytes: int, what: str) -> None:
        """Account for one picture about to be decoded. size: (width, height)."""
        self.check_size(size, what)
        self._decoded += size[0] * size[1] * pixel_bytes
        if self._decoded > self.limits.decoded_bytes:
            raise self._over(
                f"its pictures unfold to more than {self._decoded:,} bytes",
                f"{self.limits.decoded_bytes:,}",
            )
        if self._decoded > max(_SMALL, _DENSEST_PACKING * self.file_bytes):
            raise bad_file(
                self.path,
                f"its {self.file_bytes:,} bytes claim to unfold to {self._decoded:,}, "
                "which no honest file does",
                "do not open it",
            )

    def check_size(self, size: tuple[int, int], what: str) -> None:
        """Refuse a declared size past the limits, without accounting for it."""
        width, height = size
        if width < 1 or height < 1:
            raise bad_file(self.path, f"{what} is {width} x {height} pixels")
        if max(width, height) > self.limits.side:
            raise self._over(f"{what} is {width} x {height} pixels", f"{self.limits.side:,} a side")
        if width * height > self.limits.pixels:
            raise self._over(
                f"{what} is {width} x {height} = {width * height:,} pixels",
                f"{self.limits.pixels:,} pixels",
            )

    def node(self, depth: int) -> None:
        """Account for one more layer or group, `depth` groups deep."""
        self._nodes += 1
        if self._nodes > self.limits.nodes:
            raise self._over("has too many layers", f"{self.limits.nodes:,}")
        if depth > self.limits.depth:
            raise self._over(f"nests groups {depth} deep", f"{self.limits.depth}")

    def _over(self, problem: str, limit: str) -> Exception:
        return bad_file(
            self.path,
            f"{problem}, more than the limit of {limit}",
            "make it smaller, or pass higher multiplane.io.Limits if you trust it",
        )
