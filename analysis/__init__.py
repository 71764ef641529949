"""The desk: captures to processes, parents over time, containers and reports.

Imports nothing of `tracer` but the capture reader, the ABI and the errors: no Linux, no root.
"""
