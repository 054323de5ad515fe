"""A workspace with two finished runs, made by hand; they are only read."""

from __future__ import annotations

from pathlib import Path

import pytest

from stm_agent.testing.run import pico_run

PROMPTS = {"query": "ask: ", "document": "say: "}


@pytest.fixture(scope="session")
def space(tmp_path_factory) -> Path:
    """A workspace with a run without prompts, and one with."""
    space = tmp_path_factory.mktemp("deploy")
    pico_run(space, "plain-1")
    pico_run(space, "asked-1", prompts=PROMPTS, seed=1)
    return space


@pytest.fixture(scope="session")
def plain(space) -> Path:
    return space / "runs" / "plain-1"


@pytest.fixture(scope="session")
def asked(space) -> Path:
    return space / "runs" / "asked-1"
