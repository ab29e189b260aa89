"""The family `cutout`: photographs taken apart by a salient matte and a completed background."""
