"""Real docker engines of several versions, each under a real systemd (docs/lab.md)."""
