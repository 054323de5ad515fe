"""``stm-agent instruct`` as a run: it stops where it is safe, says what it found, and resumes."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any

import pytest

from stm_agent.domain.spec import InstructSpec
from stm_agent.errors import StopRequested
from stm_agent.files import read_json
from stm_agent.llm.options import LlmOptions
from stm_agent.loop import stopping
from stm_agent.loop.instruct_model import InstructOptions, instruct_model
from stm_agent.loop.runs import run_state
from stm_agent.testing.pico import pico_checkpoint
from stm_agent.testing.tiny import tiny_beir
from stm_agent.traces import TraceStore, read_traces

OPTIONS = InstructOptions(spec=InstructSpec(reflections=2), llm=LlmOptions(model="scripted:numbered"))


@pytest.fixture
def search(workspace: Path, tmp_path: Path) -> Any:
    model, beir = pico_checkpoint(tmp_path / "model"), tiny_beir(tmp_path / "beir")

    def run() -> Any:
        return instruct_model(
            str(model), beir, OPTIONS, workspace=workspace, runs=workspace / "runs", observer=lambda event: None
        )

    return run


def after_trials(monkeypatch: pytest.MonkeyPatch, count: int, act: Any) -> None:
    """Call ``act`` once, when a search has recorded its trial number ``count``."""
    add, seen = TraceStore.add, []

    def counting(store: TraceStore, trace: Any) -> str:
        name = add(store, trace)
        seen.append(name)
        if len(seen) == count:
            act()
        return name

    monkeypatch.setattr(TraceStore, "add", counting)


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")  # mteb's own
@pytest.mark.parametrize("way", ["stop file", "SIGINT"])
def test_a_stop_reports_the_best_so_far_and_the_same_call_resumes(
    search: Any, workspace: Path, monkeypatch: pytest.MonkeyPatch, way: str
) -> None:
    def ask() -> None:
        (folder,) = (path.parent for path in (workspace / "runs").glob("*/run.json"))
        if way == "stop file":
            (folder / "stop").write_text("")
        else:
            os.kill(os.getpid(), signal.SIGINT)

    monkeypatch.setattr(stopping, "LOOK_SECONDS", 0.0)
    with monkeypatch.context() as patch:
        after_trials(patch, 3, ask)
        with pytest.raises(StopRequested, match=r"3 instructions scored, the best so far is .* the same command"):
            search()
    (folder,) = (path.parent for path in (workspace / "runs").glob("*/run.json"))
    means = [trace["mean"] for trace in read_traces(folder / "traces.jsonl") if trace["mean"] is not None]
    assert len(means) == 3
    assert read_json(folder / "stopped.json")["best"]["mean"] == max(means)
    assert run_state(folder) == "stopped"
    result = search()
    assert result["run"] == folder.name
    assert run_state(folder) == "finished"
    again = [trace["mean"] for trace in read_traces(folder / "traces.jsonl") if trace["mean"] is not None]
    assert again[:3] == means
    assert len(again) == result["tried"] > 3, "no candidate is recorded twice"
    assert not (folder / "stopped.json").exists()
