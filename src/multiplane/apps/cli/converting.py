"""What `multiplane convert` does with pictures and clips."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from multiplane.apps.cli.terminal import progress_shown
from multiplane.core.document import LayerDocument
from multiplane.core.request import RequestError


@dataclass(frozen=True)
class Conversion:
    """What is asked of it beside the two files; see the options of the command."""

    over: str | None = None
    frame: int | None = None
    fps: str | None = None
    codec: str | None = None
    crf: int | None = None

    def run(self, source: Path, target: Path) -> None:
        """Write `source` as `target`.

        Raises RequestError for options that do not belong to a still or a clip, and what reading
        and writing raise."""
        from multiplane.io.clips import is_clip
        from multiplane.io.registry import check_writable, read, write

        if is_clip(source):
            self._clip(source, target)
            return
        clips_only = {"--frame": self.frame, "--fps": self.fps, "--codec": self.codec}
        for option, value in {**clips_only, "--crf": self.crf}.items():
            if value is not None:
                raise RequestError(f"{option} is for clips, and {source} is not one")
        check_writable(target)
        write(self._flattened()(read(source)), target)

    def _clip(self, source: Path, target: Path) -> None:
        from multiplane.io.clip_formats import format_to_write
        from multiplane.io.clips import read_clip, write_clip
        from multiplane.io.registry import check_writable, write

        if self.frame is not None:
            check_writable(target)
            still = read_clip(source, fps=self.fps)[self.frame]
            write(self._flattened()(still), target)
            return
        if _is_still_format(target):
            raise RequestError(
                f"{source} is a clip and {target.suffix} holds a still: say which frame with "
                "--frame N, or write .mov, .mkv, .webm, .apng, .webp, .mp4 or a folder"
            )
        format_to_write(target)
        clip = read_clip(source, fps=self.fps)
        if self.over is not None:
            clip = clip.map(self._flattened())
        with progress_shown("convert", None) as progress:
            write_clip(clip, target, codec=self.codec, crf=self.crf, progress=progress)

    def _flattened(self) -> Callable[[LayerDocument], LayerDocument]:
        """Lays a document over the colour; gives it back as it is where none is said."""
        if self.over is None:
            return lambda document: document
        from PIL import ImageColor

        from multiplane.core.edit import flatten_over

        try:
            red, green, blue = ImageColor.getrgb(self.over)[:3]
        except ValueError:
            raise RequestError(
                f"--over takes a colour such as white or #204060, got {self.over!r}"
            ) from None
        return lambda document: flatten_over(document, (red, green, blue))


def _is_still_format(path: Path) -> bool:
    """Whether a name is that of a still alone: layers folders may be of either."""
    from multiplane.io.png_sequence import Pattern
    from multiplane.io.registry import format_of

    table = format_of(path)
    return table is not None and table.name != "planes" and Pattern.of(path) is None
