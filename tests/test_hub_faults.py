"""A repository that the Hub refuses is named in one line, with what to do."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from stm_agent.hub_faults import download_line
from stm_agent.testing.hub import FakeHub

ASK = """
import json
from stm_agent.backbone.load import load_backbone
from stm_agent.domain.hub import read_official
from stm_agent.domain.official import OfficialTask
from stm_agent.domain.spec import BackboneSpec
from stm_agent.domain.training_files import rows_of_hub
from stm_agent.errors import StmAgentError

def message(ask):
    try:
        ask()
    except StmAgentError as error:
        return str(error)

print(json.dumps({
    "gated model": message(lambda: load_backbone(BackboneSpec(model="owner/closed"))),
    "missing model": message(lambda: load_backbone(BackboneSpec(model="owner/missing"))),
    "gated task": message(lambda: read_official(OfficialTask(name="PublicHealthQA", subset="english"))),
    "missing set": message(lambda: list(rows_of_hub("owner/missing", None, "train", None))),
}))
"""


@pytest.fixture(scope="module")
def messages(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Ask in a fresh process: libraries read the Hub's address as they are imported."""
    with FakeHub() as hub:
        hub.gated = {"owner/closed", "xhluca/publichealth-qa"}
        # HF_HOME: nothing that this machine has stored can answer in the Hub's place.
        home = str(tmp_path_factory.mktemp("home"))
        environment = {**os.environ, "HF_ENDPOINT": hub.url, "HF_HOME": home, "NO_PROXY": "127.0.0.1"}
        environment.pop("HF_HUB_OFFLINE", None)
        done = subprocess.run(
            [sys.executable, "-c", ASK], env=environment, capture_output=True, text=True, timeout=300, check=True
        )
    found: dict[str, str] = json.loads(done.stdout.splitlines()[-1])
    return found


@pytest.mark.parametrize(
    ("case", "expected"),
    [
        (
            "gated model",
            "cannot load backbone owner/closed: model owner/closed is gated: accept its terms at "
            "https://huggingface.co/owner/closed, then run: hf auth login",
        ),
        (
            "missing model",
            "cannot load backbone owner/missing: model owner/missing does not exist on the Hub, or is private: check "
            "it, or run: hf auth login",
        ),
        (
            "gated task",
            "cannot fetch MTEB task PublicHealthQA from the Hub: dataset xhluca/publichealth-qa is gated: accept its "
            "terms at https://huggingface.co/datasets/xhluca/publichealth-qa, then run: hf auth login",
        ),
        (
            "missing set",
            "cannot fetch data set owner/missing from the Hub: dataset owner/missing does not exist on the Hub, or is "
            "private: check it, or run: hf auth login",
        ),
    ],
)
def test_what_the_hub_refuses_is_one_line_with_the_fix(messages: dict[str, str], case: str, expected: str) -> None:
    assert messages[case] == expected


def test_the_command_that_downloads_a_data_set_pins_its_revision(tmp_path: Path) -> None:
    line = download_line("mteb/scifact", "d564", str(tmp_path / "mteb" / "scifact"))
    assert line.startswith("hf download mteb/scifact --repo-type dataset --revision d564 --local-dir /")
