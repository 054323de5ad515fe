"""Push to a Hub on loopback, and the plan of a migration."""

from __future__ import annotations

import json

import pytest
from typer.testing import CliRunner

from stm_agent.cli.main import build
from stm_agent.deploy.licences import judge_licence, licences_of_card
from stm_agent.deploy.planning import plan_migration
from stm_agent.deploy.product import product_of_model, product_of_run
from stm_agent.deploy.pushing import packed, push
from stm_agent.errors import ConfigError, RunError, StorageError
from stm_agent.files import read_json, write_json
from stm_agent.testing.hub import FakeHub
from stm_agent.testing.run import pico_run

CARD = """# a model

Data and licences:

- Web pages (CC-BY-NC-4.0)
- Letters of patients (no redistribution)
- backbone some/model (licence: see its own card)
- Definitions (CC0-1.0)

Made by `stm-agent optimize`.
"""


@pytest.fixture
def run(tmp_path):
    run = pico_run(tmp_path, "pushed-1")
    (run / "model" / "README.md").write_text(CARD)
    report = read_json(run / "report.json")
    row = {"ndcg_at_10": 0.5, "recall_at_100": 0.9, "mrr_at_10": 0.4}
    speed = {"cost": {"texts_per_second": {"encoding": 50.0}}, "collection": {"name": "tiny"}, "rows": {"merged": row}}
    write_json(run / "report.json", {**report, **speed})
    return run


@pytest.fixture
def hub():
    with FakeHub(token="hf_tiny") as hub:  # noqa: S106 - of the fake
        yield hub


def test_what_is_pushed_is_the_model_with_card_and_scores(run, hub, monkeypatch):
    monkeypatch.setattr("huggingface_hub.utils._headers.get_token", lambda: "hf_tiny")
    product = product_of_run(run)
    with packed(product) as package:
        assert push(package, "me/tiny", private=True, endpoint=hub.url).startswith(hub.url)
        files = {name: (package.folder / name).read_bytes() for name in package.files}
    assert hub.repositories["me/tiny"] == files
    assert hub.private == {"me/tiny"}
    scores = json.loads(files["mteb/TinyRetrieval.json"])
    assert scores["scores"]["test"][0]["main_score"] == 0.5
    assert scores["scores"]["test"][0]["languages"] == ["und-Zyyy"], "the report does not say in which it is"
    assert json.loads(files["stm_agent.json"])["model_sha256"] == product.sha256
    assert files["model.safetensors"] == (run / "model" / "model.safetensors").read_bytes()


def test_a_hub_that_refuses_or_is_away_is_one_line(run, hub, monkeypatch):
    monkeypatch.setattr("huggingface_hub.utils._headers.get_token", lambda: None)
    with packed(product_of_run(run)) as package:
        for endpoint in (hub.url, "http://127.0.0.1:1"):
            with pytest.raises(StorageError, match="the Hub refused me/tiny: ") as raised:
                push(package, "me/tiny", private=False, endpoint=endpoint)
            assert "\n" not in str(raised.value)
        with pytest.raises(ConfigError, match="give --to owner/name"):
            push(package, "tiny", private=False)
    assert hub.repositories == {}


def test_licences_that_forbid_it_are_named_first():
    verdicts = [(source.source, source.verdict) for source in licences_of_card(CARD)]
    assert verdicts == [
        ("Letters of patients", "forbids"),
        ("backbone some/model", "unstated"),
        ("Web pages", "limits"),
        ("Definitions", "allows"),
    ]


@pytest.mark.parametrize(
    ("licence", "verdict"),
    [
        ("Apache-2.0", "allows"),
        ("CC-BY-ND-4.0", "forbids"),
        ("CC BY-NC-ND 4.0", "forbids"),
        ("CC-BY-SA-4.0", "limits"),
        ("not stated", "unstated"),
        ("", "unstated"),
        ("HPO licence: free, cite, unaltered, show the version", "limits"),
        ("All Rights Reserved", "forbids"),
        ("MIT", "allows"),
        ("mit license", "allows"),
        ("Apache License, Version 2.0", "allows"),
        ("cc-by-4.0", "allows"),
        ("CC BY 2.5", "allows"),
        ("bsd-3-clause", "allows"),
        ("WordNet 3.0 licence", "allows"),
        ("Apache-2.0 OR MIT", "allows"),
        ("Apache-2.0 AND other", "unstated"),
        ("other", "unstated"),
        ("NOASSERTION", "unstated"),
        ("none", "unstated"),
        ("Gemma Terms of Use", "unstated"),
        ("permit", "unstated"),
        ("https://example.org/license", "unstated"),
        ("cc by-nd 4.0", "forbids"),
    ],
)
def test_a_licence_is_judged_by_its_words(licence, verdict):
    assert judge_licence("x", licence).verdict == verdict


def test_the_runs_own_record_decides_and_not_its_card(run):
    report = read_json(run / "report.json")
    write_json(
        run / "report.json", {**report, "collection": {"name": "tiny", "source": "Letters", "licence": "proprietary"}}
    )
    (run / "model" / "README.md").write_text("Data and licences:\n\n- Letters (MIT)\n- More letters (other)\n")
    with packed(product_of_run(run)) as package:
        verdicts = {source.source: source.verdict for source in package.licences}
    assert verdicts == {"Letters": "forbids", "More letters": "unstated"}


def test_the_models_of_a_run_are_among_its_sources(run):
    from stm_agent.domain.load import load_domain

    report = read_json(run / "report.json")
    collection = {"name": "tiny", "source": "Letters", "licence": "MIT"}
    write_json(run / "report.json", {**report, "collection": collection})
    write_json(run / "plan.json", {"spec": load_domain("biomedical", run.parent.parent).model_dump(mode="json")})
    (run / "model" / "README.md").unlink()
    with packed(product_of_run(run)) as package:
        found = {source.source: source.verdict for source in package.licences}
    assert found["Letters"] == "allows"
    assert any(name.startswith("backbone ") for name in found)


def test_a_model_without_a_record_of_its_sources_is_not_pushed(run):
    (run / "model" / "README.md").unlink()
    with packed(product_of_run(run)) as package:
        assert [source.verdict for source in package.obstacles] == ["unstated"]


def test_a_dry_run_lists_and_pushes_nothing_and_a_push_asks_about_licences(run, hub, monkeypatch):
    monkeypatch.setenv("HF_ENDPOINT", hub.url)
    command = ["push", str(run), "--to", "me/tiny", "--workspace", str(run.parent.parent)]
    listed = CliRunner().invoke(build(), [*command, "--dry-run"])
    assert listed.exit_code == 0, listed.output
    assert listed.output.splitlines()[0] == "forbids   Letters of patients: no redistribution"
    assert "model.safetensors" in listed.output
    for name in ("tiny", "me/tiny/more", "me/", "me/ti ny", "me/a--b", "me/.tiny", "me/tiny.git"):
        wrong = CliRunner().invoke(build(), [*command[:3], name, *command[4:], "--dry-run"])
        assert f"'{name}' is not a repository's name; give --to owner/name" in str(wrong.exception)
    refused = CliRunner().invoke(build(), command)
    assert isinstance(refused.exception, ConfigError)
    assert "Letters of patients (no redistribution)" in str(refused.exception)
    assert hub.repositories == {}


def test_a_run_that_is_not_finished_is_not_pushed(run):
    write_json(run / "report.json", {**read_json(run / "report.json"), "state": "stopped"})
    with pytest.raises(RunError, match="is not finished"), packed(product_of_run(run)):
        pass
    with pytest.raises(RunError, match="has no run"), packed(product_of_model(str(run / "model"))):
        pass


def test_a_migration_costs_hours_dollars_and_disk(run):
    plan = plan_migration(product_of_run(run), 3_600_000, dollars_per_hour=0.5, texts_per_second=None, machines=4)
    assert (plan.hours, plan.dollars, plan.texts_per_second) == (5.0, 10.0, 50.0)
    assert plan.gib["float32"] == pytest.approx(3_600_000 * 32 * 4 / 2**30)
    assert plan.gain == pytest.approx(0.05)
    assert not plan.queries_alone


def test_an_old_index_can_stay_if_only_queries_were_trained(run):
    write_json(run / "model" / "sides.json", {"passages": "start", "tokens": 96})
    (run / "ledger.jsonl").unlink()
    result = CliRunner().invoke(build(), ["deploy", "plan", str(run), "--corpus-size", "1000"])
    assert "the old one can stay if the start made it from the first 96 tokens" in " ".join(result.output.split())
    assert "give --rate" in result.output
    write_json(run / "model" / "sides.json", {"passages": "merged"})
    result = CliRunner().invoke(build(), ["deploy", "plan", str(run), "--corpus-size", "1000"])
    assert "has to be written again" in result.output


def test_the_speed_must_be_known(run):
    write_json(run / "report.json", {"state": "stopped"})
    with pytest.raises(ConfigError, match="give --texts-per-second"):
        plan_migration(product_of_run(run), 10, dollars_per_hour=None, texts_per_second=None, machines=1)
