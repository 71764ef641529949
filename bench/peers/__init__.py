"""`make bench-peers`: rtrace beside other tools that see processes come and go.

All of them watch the same storms, in turns, in one run. docs/benchmarks.md says how each is
measured and what each leaves out.
"""
