"""The screen of `rtrace record --live`: a process that reads what the recorder writes.

It never sees a ring or a BPF program, and nothing of it runs in the recorder.
"""
