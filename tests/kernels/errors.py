"""What ends the rig."""

from __future__ import annotations


class RigError(Exception):
    """It cannot go on; ``str()`` is the line for the user."""
