"""Files: layered pictures in and out of PSD, OpenRaster, planes folders and PNG; layered clips in
and out of video files, animations, PNG sequences and folders."""

from multiplane.io.capabilities import CAPABILITIES, Capabilities
from multiplane.io.clips import is_clip, read_clip, write_clip
from multiplane.io.errors import BakedWarning, CapabilityError, FileFormatError
from multiplane.io.image import read_coverage, read_pixels
from multiplane.io.limits import DEFAULT_LIMITS, Limits
from multiplane.io.registry import check_writable, format_of, read, write

__all__ = [
    "CAPABILITIES",
    "DEFAULT_LIMITS",
    "BakedWarning",
    "Capabilities",
    "CapabilityError",
    "FileFormatError",
    "Limits",
    "check_writable",
    "format_of",
    "is_clip",
    "read",
    "read_clip",
    "read_coverage",
    "read_pixels",
    "write",
    "write_clip",
]
