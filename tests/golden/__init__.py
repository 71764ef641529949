"""Captures of real engines, with what is to be told of them: analysis tested without root."""
