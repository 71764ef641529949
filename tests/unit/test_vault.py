"""Thousands of secrets that begin alike, and names with signs in them, found again as one is."""

from __future__ import annotations

import base64
import random
import sys
from types import FrameType
from typing import Any

from analysis.redaction.vault import Vault
from tests.secrets import token

HEAD = "eyJhbGciOiJIUzI1NiJ9."


def found(vault: Vault, text: str) -> list[str]:
    return [text[span.begin : span.end] for span in vault.find_known(text)]


def test_the_longest_of_those_that_begin_alike() -> None:
    vault = Vault()
    for secret in (f"{HEAD}abc123def4", f"{HEAD}abc123def4.more5", f"{HEAD}other77"):
        vault.add(secret, "token")
    assert found(vault, f"x={HEAD}abc123def4.more5;y") == [f"{HEAD}abc123def4.more5"]
    assert found(vault, f"x={HEAD}abc123def4/y") == [f"{HEAD}abc123def4"]
    coded = base64.b64encode(f"{HEAD}other77".encode()).decode()
    assert found(vault, f"{coded} {HEAD}unknown1") == [coded]


def test_names_of_images_are_found_between_edges() -> None:
    vault = Vault()
    for name in ("r.example.com:5000/team/app:1.2", "r.example.com:5000/team/app", "team/other"):
        vault.add_word(name, "image")
    image = "r.example.com:5000/team/app"
    assert found(vault, f"run {image}:1.2 x") == [f"{image}:1.2"]
    assert found(vault, f"--image={image}:9") == [image]
    assert found(vault, f"'{image}@sha256:ab'") == [image]
    assert found(vault, "team/other,team/others x/team/other") == ["team/other"]


def test_work_grows_with_the_secrets_and_not_with_their_square() -> None:
    """Counted in calls, which take the same on every machine."""

    def calls(count: int) -> int:
        rng = random.Random(1)
        vault = Vault()
        secrets = [HEAD + token(rng, 30) for _ in range(count)]
        for number, secret in enumerate(secrets):
            vault.add(secret, "token")
            vault.add_word(f"r.example.com/team/app{number}", "image")
        made = 0

        def count_one(frame: FrameType, event: str, argument: Any) -> None:
            nonlocal made
            made += event in ("call", "c_call")

        sys.setprofile(count_one)
        try:
            for secret in secrets:
                assert len(list(vault.find_known(f"app --token {secret}"))) == 1
        finally:
            sys.setprofile(None)
        return made

    assert calls(400) < 3 * calls(200)
