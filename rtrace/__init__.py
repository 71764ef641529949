"""Captures in notebooks: ``rtrace.open_capture("x.rtrace").processes``. See docs/dataframes.md."""

from rtrace.capture import Capture, open_capture

__all__ = ["Capture", "open_capture"]
