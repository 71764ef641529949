"""What recording costs on this machine: `make bench`, or `python -m bench`. See docs/benchmarks.md.

Everything is a ratio or a difference within one run: with and without a recorder, in turns.
"""
