"""Captures in notebooks: ``rtrace.open_capture("x.rtrace").processes``."""

from analysis.model import Capture, open_capture

__all__ = ["Capture", "open_capture"]
