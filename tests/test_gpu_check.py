"""``scripts/gpu_check``: refuses a machine without a GPU, and holds what it measured against its targets."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

ROOT = Path(__file__).parent.parent


@pytest.fixture
def gpu(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(ROOT / "benchmarks")
    spec = importlib.util.spec_from_file_location("gpu_benchmark", ROOT / "benchmarks" / "gpu.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.skipif("__import__('torch').cuda.is_available()", reason="this machine has a GPU")
def test_a_machine_without_a_gpu_is_refused_in_one_line() -> None:
    done = subprocess.run(
        [ROOT / "scripts" / "gpu_check"],
        capture_output=True,
        text=True,
        check=False,
        env={"PATH": f"{Path(sys.executable).parent}:/usr/bin:/bin", "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
    )
    assert done.returncode == 2
    assert done.stderr.strip().splitlines()[-1].startswith("error: torch finds no GPU; run scripts/gpu_check on ")
    assert "Traceback" not in done.stderr


def test_what_was_measured_is_held_against_its_targets(gpu: ModuleType) -> None:
    def side(speed: float, peak: float) -> dict[str, float]:
        return {"pairs_per_second": speed, "dev": 0.5, "peak_gib": peak}

    encoded: dict[str, Any] = {
        "HPO": {
            "per_second": {"plain": 100.0, "ours": 150.0},
            "lowest_cosine": 0.9999,
            "halved": {"smaller": True, "lowest_cosine": 0.9999},
        }
    }
    job = {"report": {"rows": {"merged": {"ndcg_at_10": 0.69}}}, "wall_seconds": 300.0}
    claims = gpu.claims(encoded, {"ours": side(150.0, 1.0), "plain": side(100.0, 2.0)}, job)
    failing = [entry["claim"] for entry in claims if not entry["holds"]]
    assert failing == ["main job, merged test nDCG@10"]
    assert next(entry["measured"] for entry in claims if "HPO: passages/s" in entry["claim"]) == 1.5
    without = gpu.claims(encoded, {"ours": side(90.0, 1.0), "plain": side(100.0, 2.0)}, None)
    assert [entry["claim"] for entry in without if not entry["holds"]] == ["pairs/s of training, times plain"]
