"""Frames for notebooks: `rtrace.Capture` documents their columns."""
