"""Settings of the whole suite."""

from __future__ import annotations

from hypothesis import settings

# A busy machine is no failure: examples are judged by what they find, never by how long they take.
settings.register_profile("suite", deadline=None)
settings.load_profile("suite")
