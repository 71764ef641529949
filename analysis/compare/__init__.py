"""Captures side by side: how engines of several versions behave, and how long they take."""
