"""`make test-kernels`: rtrace on stock kernels, each booted for it. docs/kernels.md.

The *host* builds a root file system for each kernel, boots it under emulation and judges what
comes back; what runs on the kernel itself is *inside*. Each of `checks` has both halves.
"""
