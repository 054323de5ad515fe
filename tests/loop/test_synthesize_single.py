"""``stm-agent synthesize`` writes queries, negatives and graded passages without a run."""

from __future__ import annotations

from pathlib import Path

import pytest

from stm_agent.domain.spec import DomainSpec
from stm_agent.errors import ConfigError
from stm_agent.inspect.data import data_rows
from stm_agent.loop.options import Options
from stm_agent.loop.synthesize_single import synthesize_domain


def test_every_kind_is_written_into_a_folder_of_its_own(tiny_domain: DomainSpec, workspace: Path) -> None:
    options, output = Options(generator="scripted:numbered"), workspace / "written"
    runs = workspace / "runs"
    what = ("queries", "negatives", "graded")
    counts = synthesize_domain(tiny_domain, workspace, runs, output, options, limit=3, what=what)
    assert list(counts) == list(what)
    assert counts["queries"]["asked"] == 3
    assert counts["graded"]["asked"] == 9
    assert all(row["calls"] > 0 for row in counts.values())
    stages = {row["stage"] for kind in what for row in data_rows(output / kind)}
    assert stages == {"queries", "negatives", "graded"}
    one = synthesize_domain(tiny_domain, workspace, runs, workspace / "one", options, limit=3, what=("queries",))
    assert one["calls"] == 0, "nothing is paid twice"
    assert len(data_rows(workspace / "one")) == 3


@pytest.mark.parametrize("what", [("poems",), ()])
def test_what_cannot_be_written_is_named(tiny_domain: DomainSpec, workspace: Path, what: tuple[str, ...]) -> None:
    options = Options(generator="scripted:numbered")
    with pytest.raises(ConfigError, match="cannot be written; use queries, negatives, graded"):
        synthesize_domain(tiny_domain, workspace, workspace / "runs", workspace / "out", options, limit=1, what=what)
