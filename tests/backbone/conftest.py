"""One random decoder for all tests of the folder; it is only read."""

from __future__ import annotations

from pathlib import Path

import pytest

from stm_agent.testing.pico import pico_decoder


@pytest.fixture(scope="session")
def pico(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return pico_decoder(tmp_path_factory.mktemp("pico") / "decoder", layers=3)
