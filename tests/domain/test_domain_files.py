"""Domain files, the workspace, and their commands."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from stm_agent import workspace
from stm_agent.cli.domains import app
from stm_agent.cli.init import RUNS_README, init_workspace
from stm_agent.domain.load import domain_of_collection, dump_domain, load_domain, shipped_domains
from stm_agent.domain.names import domain_name
from stm_agent.domain.spec import BeirCollection, HpoCollection
from stm_agent.errors import ConfigError, DataError
from stm_agent.testing.tiny import tiny_beir

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A workspace that is the current folder, and a shipped copy with one file more."""
    shipped = tmp_path / "shipped"
    for folder in (shipped, tmp_path / "own"):
        for name in ("programs/hard_negatives.py", "prompts/retrieval.yaml"):
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_text(folder.name, encoding="utf-8")
    (shipped / "programs" / "queries.py").touch()
    (shipped / "programs" / "__init__.py").touch()
    monkeypatch.setattr(workspace, "_IN_WHEEL", shipped)
    monkeypatch.chdir(tmp_path / "own")
    return tmp_path / "own"


def call(*arguments: str) -> object:
    result = CliRunner().invoke(app, [*arguments, "--json"], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return json.loads(result.output)


def test_biomedical_is_shipped(tmp_path: Path):
    assert shipped_domains() == ("biomedical",)
    spec = load_domain("biomedical", tmp_path)
    assert isinstance(spec.collection, HpoCollection)
    by_side = {side: [expert.name for expert in spec.experts if expert.side == side] for side in ("both", "query")}
    assert by_side == {
        "both": ["lay", "hard", "kin", "clinical", "written"],
        "query": ["words-1", "words-2", "words-3"],
    }
    assert spec.backbone.layers == 6


def test_learning_rates_are_written_as_people_write_them(place: Path):
    text = (ROOT / "stm_agent" / "domain" / "biomedical.yaml").read_text(encoding="utf-8")
    assert "learning_rate: 0.002" in text
    (place / "mine.yaml").write_text(text.replace("learning_rate: 0.002", "learning_rate: 2e-4"), encoding="utf-8")
    assert load_domain("mine", place).train.learning_rate == 2e-4


def test_paths_are_relative_to_the_domain_file(place: Path):
    (place / "sub").mkdir()
    tiny_beir(place / "sub" / "tiny")
    call("new", "sub/mine.yaml", "--collection", "sub/tiny")
    text = (place / "sub" / "mine.yaml").read_text(encoding="utf-8")
    (place / "sub" / "mine.yaml").write_text(text.replace(str(place / "sub"), "."), encoding="utf-8")
    collection = load_domain("sub/mine.yaml", place).collection
    assert collection == BeirCollection(path=place / "sub" / "tiny")


def test_domain_of_a_collection(tmp_path: Path):
    folder = tiny_beir(tmp_path / "tiny")
    spec = domain_of_collection(folder)
    assert spec.planned, "experts follow from the data when the run begins"
    assert spec.starts, "the start is chosen by a race"


ODD_NAMES = ["My Data (v2)", "médecine", "数据集", "...", "a" * 200, "_", "-v", "x\ny", "bad\udcff", "v1.", "🩺"]


@pytest.mark.parametrize("name", ODD_NAMES)
def test_a_folder_of_any_name_makes_a_domain(tmp_path: Path, name: str):
    (tmp_path / name).mkdir()
    spec = domain_of_collection(tmp_path / name)
    assert len(spec.name) <= 48
    assert name.encode("utf-8", "replace").decode() in spec.description
    (tmp_path / "mine.yaml").write_text(dump_domain(spec), encoding="utf-8")


def test_a_folder_name_that_is_valid_stays(tmp_path: Path):
    for name in ("tiny", "nq-v1.2_b", "7"):
        assert domain_name(name) == name


def test_two_folder_names_never_share_a_domain_name():
    names = [*ODD_NAMES, "medecine", "médecine ", "数据集2", "My Data v2", "My-Data-v2", "a" * 201, "collection", "v1"]
    assert len({domain_name(name) for name in names}) == len(names)
    assert domain_name("me\u0301decine") == domain_name("m\u00e9decine"), "one name in two Unicode forms"


def test_commands_make_show_list_and_check_a_domain(place: Path):
    tiny_beir(place / "tiny")
    call("new", "mine.yaml", "--collection", "tiny")
    (place / "broken.yaml").write_text("name: x\n", encoding="utf-8")
    rows = {row["domain"]: row for row in call("list")}  # type: ignore[attr-defined]
    assert rows["biomedical"]["where"] == "shipped"
    assert rows["mine.yaml"]["description"] == "Made from the collection tiny"
    assert rows["broken.yaml"]["description"].startswith("unusable: ")
    shown = call("show", "mine")
    assert shown["collection"]["path"] == str(place / "tiny")  # type: ignore[index]
    facts = call("check", "mine.yaml")
    assert facts["pairs of source train"] == 72  # type: ignore[index]
    assert facts["program"] == str(place / "programs" / "hard_negatives.py")  # type: ignore[index]
    with pytest.raises(ConfigError, match="exists; name a new file"):
        call("new", "mine.yaml")


def test_check_finds_an_expert_without_pairs(place: Path):
    folder = tiny_beir(place / "tiny")
    call("new", "mine.yaml", "--collection", "tiny")
    text = (place / "mine.yaml").read_text(encoding="utf-8")
    experts = "experts:\n- {name: train, sources: [train], steps: 9}\n"
    (place / "mine.yaml").write_text(text.replace("experts: []\n", experts), encoding="utf-8")
    (folder / "qrels" / "train.tsv").unlink()
    with pytest.raises(DataError, match="expert train has no training pairs"):
        call("check", "mine.yaml")


def test_new_without_a_collection_copies_the_shipped_file_with_its_comments(place: Path):
    call("new", "mine.yaml")
    assert (place / "mine.yaml").read_text(encoding="utf-8").startswith("# A patient's words")


def test_text_output_is_yaml_that_loads_again(place: Path):
    shown = CliRunner().invoke(app, ["show", "biomedical"], catch_exceptions=False).output
    (place / "again.yaml").write_text(shown, encoding="utf-8")
    assert load_domain("again", place) == load_domain("biomedical", place)


def test_workspace_is_found(place: Path, monkeypatch: pytest.MonkeyPatch):
    assert workspace.find_workspace(None) == place
    assert workspace.runs_folder(place) == place / "runs"
    other = place / "elsewhere"
    other.mkdir()
    with pytest.raises(ConfigError, match="is not a workspace, it has no programs/; make one: stm-agent init"):
        workspace.find_workspace(other)
    monkeypatch.chdir(other)
    shipped = workspace.find_workspace(None)
    assert shipped.name == "shipped"
    assert workspace.runs_folder(shipped) == other / "runs"


def test_a_users_program_wins_over_the_shipped_one(place: Path):
    assert workspace.program_path(place, "hard_negatives").read_text(encoding="utf-8") == "own"
    assert workspace.program_path(place, "queries.py").parent.parent.name == "shipped"
    assert workspace.prompt_path(place, "retrieval.yaml").read_text(encoding="utf-8") == "own"
    with pytest.raises(ConfigError, match=r"no file programs/hard_negative\.py .*; did you mean hard_negatives\.py\?"):
        workspace.program_path(place, "hard_negative")
    with pytest.raises(ConfigError, match="no file prompts/zzz"):
        workspace.prompt_path(place, "zzz")


def test_init_writes_a_whole_workspace(place: Path):
    from typer import Typer

    from stm_agent.cli.init import init

    app = Typer()
    app.command()(init)
    result = CliRunner().invoke(app, ["fresh", "--json"], catch_exceptions=False)
    assert json.loads(result.output) == {"workspace": "fresh"}
    files = {path.relative_to("fresh").as_posix() for path in Path("fresh").rglob("*") if path.is_file()}
    programs = {"programs/hard_negatives.py", "programs/queries.py", "prompts/retrieval.yaml"}
    assert files == programs | {"runs/README.md", "domain.yaml"}
    assert load_domain("domain.yaml", place / "fresh").name == "biomedical"
    with pytest.raises(ConfigError, match="fresh exists; name a new folder"):
        init_workspace(Path("fresh"))


def test_readme_of_runs_is_the_one_init_writes():
    assert (ROOT / "runs" / "README.md").read_text(encoding="utf-8") == RUNS_README
