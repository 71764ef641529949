"""A real systemd as process 1 of namespaces of its own: no emulation, up in a second."""
