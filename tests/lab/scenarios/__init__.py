"""The scenarios: each a function that says what is done, in the order in which it is done."""

from tests.lab.scenarios import (
    containers,
    ctr,
    daemons,
    nested,
    podman,
    pods,
    processes,
    shims,
)
from tests.lab.scenarios.scenario import SCENARIOS, Scenario

__all__ = [
    "SCENARIOS",
    "Scenario",
    "containers",
    "ctr",
    "daemons",
    "nested",
    "podman",
    "pods",
    "processes",
    "shims",
]
