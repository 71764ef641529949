"""Captures without secrets, names of people and hosts: see docs/redaction.md."""
