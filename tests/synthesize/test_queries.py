"""Queries of several types: their mix, their filters, several in one call, and repair of texts that cannot be used."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from stm_agent.domain.held import HeldQueries
from stm_agent.domain.spec import SynthesizeSpec
from stm_agent.llm.answer import Messages
from stm_agent.llm.client import LlmClient
from stm_agent.llm.options import LlmOptions
from stm_agent.llm.scripted import scripted
from stm_agent.synthesize.queries import WrittenQueries, load_lost, write_queries
from stm_agent.synthesize.query_types import deal_types, mix_of, shown_examples, type_of
from stm_agent.synthesize.rows import load_rows

PROGRAM = Path(__file__).parents[2] / "programs" / "queries.py"
POOL = {f"d{n}": f"Passage about subject{n} and its many uses." for n in range(10)}


def written(client: LlmClient, folder: Path, pool: dict[str, str] | None = None, **options: Any) -> WrittenQueries:
    pool = POOL if pool is None else pool
    others = {name: options.pop(name) for name in ("examples", "held", "before", "spread") if name in options}
    spec = SynthesizeSpec(**{"queries": len(pool), **options})
    (folder / "out").mkdir(exist_ok=True)
    return write_queries(
        pool, task="t", program=PROGRAM, client=client, spec=spec, seed=0, folder=folder / "out", **others
    )


def about_its_subject(messages: Messages) -> str:
    return f"uses of {subject_of(messages)}"


def subject_of(messages: Messages) -> str:
    return next(word for word in reversed(messages[-1]["content"].split()) if word.startswith("subject"))


@pytest.mark.parametrize(
    ("query", "name"),
    [
        ("What causes gout?", "question"),
        ("how do bikes stay upright", "question"),
        ("痛风是什么？", "question"),
        ("gout joint pain", "keywords"),
        ("Uric acid causes gout in most adults.", "claim"),
        ("my toe hurts after beer", "everyday"),
        ("Managing Gout In Older Adults", "title"),
        ("", "keywords"),
    ],
)
def test_the_type_of_a_query_follows_its_form(query: str, name: str) -> None:
    assert type_of(query) == name


def test_the_mix_follows_the_train_queries_and_leaves_no_type_out() -> None:
    mix = mix_of(["What is gout?"] * 30 + ["gout pain"] * 10)
    assert sum(mix.values()) == pytest.approx(1)
    assert mix["question"] > 2 * mix["keywords"] > 0.3
    assert min(mix.values()) == pytest.approx(0.04)
    assert set(mix_of(["What is gout?"]).values()) == {0.2}, "one query decides nothing"


def test_types_are_dealt_by_their_shares_and_differ_within_a_passage() -> None:
    dealt = deal_types({"a": 0.5, "b": 0.3, "c": 0.2}, 10, 1)
    assert Counter(name for (name,) in dealt) == {"a": 5, "b": 3, "c": 2}
    assert all(len(set(types)) == 2 for types in deal_types({"a": 0.9, "b": 0.1}, 5, 3))


def test_examples_of_a_type_are_shown_and_not_copied(tmp_path: Path) -> None:
    examples = ["What is the use of iron in blood?", "iron blood"] * 15
    seen: list[str] = []

    def copy(messages: Messages) -> str:
        seen.append(messages[-1]["content"])
        # Not the very same text each time: that would end the stage.
        return "What is the use of iron in blood?" if len(set(seen)) % 2 else "what is the use of iron in blood"

    done = written(scripted(copy, tmp_path), tmp_path, examples=examples, types=("question",), attempts=1)
    assert all("What is the use of iron in blood?" in chat and "iron blood" not in chat for chat in seen)
    assert done.report.refused == {"repeats its input": 10}
    assert shown_examples(examples, "my own type", 5, 0) == shown_examples(examples[:2], "my own type", 5, 0)


def test_at_least_four_of_five_calls_go_to_queries_by_default() -> None:
    spec = SynthesizeSpec()
    assert spec.queries >= 0.8 * (spec.queries + spec.pairs * 2)


def test_near_duplicates_and_held_queries_are_left_out_counted_and_withheld(tmp_path: Path) -> None:
    answers = ["uses of subject0", "Uses of  subject0?", "the test query on gout and its cause", "uses of subject3"]
    held = HeldQueries.of_texts(["test query on gout and its cause"])
    pool = {name: POOL[name] for name in list(POOL)[:4]}
    done = written(scripted(answers, tmp_path), tmp_path, pool, held=held)
    assert [pair.query for pair in done.pairs] == ["uses of subject0", "uses of subject3"]
    assert done.report.refused == {"nearly a dev or test query": 1, "nearly another written query": 1}
    assert "gout" not in (tmp_path / "out" / "rows.jsonl").read_text()
    assert done.report.asked == done.report.written + sum(done.report.refused.values())


def test_queries_that_an_earlier_batch_wrote_are_left_out(tmp_path: Path) -> None:
    before = ("Uses of  subject0?", "uses of subject2")
    done = written(scripted(about_its_subject, tmp_path), tmp_path, before=before)
    assert done.report.refused == {"nearly another written query": 2}
    assert not {"uses of subject0", "uses of subject2"} & {pair.query for pair in done.pairs}


FRENCH = "Le client peut annuler la commande dans les dix jours, et il ne paie pas les frais de retour."
GERMAN = "Der Kunde kann die Bestellung nicht mehr ändern, wenn sie auf dem Weg ist und das Paket von der Post kommt."
ENGLISH = "The customer may send the order back within ten days, and it is not that they pay for the return."


def test_a_query_in_another_language_than_its_passage_is_refused_in_a_corpus_of_several(tmp_path: Path) -> None:
    pool = {"fr": FRENCH, "de": GERMAN, "en": ENGLISH}
    client = scripted(lambda messages: f"how long is it that the order {len(messages[-1]['content'])}", tmp_path)
    done = written(client, tmp_path, pool, attempts=1)
    assert done.report.refused == {"another language": 2}
    assert [pair.group for pair in done.pairs] == ["en"]


def test_people_may_ask_in_a_language_that_no_passage_has(tmp_path: Path) -> None:
    pool = {"a": ENGLISH, "b": ENGLISH.replace("ten", "nine")}
    examples = ["Wie lange ist die Frist für das Paket und der Preis?", "Wer ist für die Kosten der Post da?"]
    client = scripted(lambda messages: f"wer ist für die Post {sum(map(ord, messages[-1]['content']))}", tmp_path)
    assert written(client, tmp_path, pool, attempts=1, examples=examples, types=("keywords",)).report.written == 2


def test_a_round_trip_leaves_out_queries_that_miss_their_passage(tmp_path: Path) -> None:
    def script(messages: Messages) -> str:
        subject = subject_of(messages)
        return "nothing that is here" if subject == "subject3" else f"uses of {subject}"

    done = written(scripted(script, tmp_path), tmp_path, round_trip=2)
    assert done.report.refused == {"does not find its passage": 1}
    ranks = {row.positives[0].id: row.scores for row in done.rows}
    assert "rank_bm25" not in ranks["d3"]
    assert ranks["d4"]["rank_bm25"] == 1.0


def test_a_round_trip_that_a_probe_decides_on_keeps_all_queries_and_names_those_that_miss(tmp_path: Path) -> None:
    def script(messages: Messages) -> str:
        subject = subject_of(messages)
        return "nothing that is here" if subject == "subject3" else f"uses of {subject}"

    done = written(scripted(script, tmp_path), tmp_path, round_trip="probe")
    assert (done.report.refused, len(done.pairs)) == ({}, 10)
    assert load_lost(tmp_path / "out") == {"written:d3"}
    assert {row.verdict for row in done.rows} == {"accepted"}


def test_a_text_that_cannot_be_used_is_asked_for_again_and_counted(tmp_path: Path) -> None:
    tries: Counter[str] = Counter()

    def script(messages: Messages) -> str:
        subject = subject_of(messages)
        tries[subject] += 1
        return "I'm sorry, but I can't help with that." if tries[subject] == 1 else f"uses of {subject}"

    done = written(scripted(script, tmp_path), tmp_path)
    assert (done.report.written, done.report.repaired, done.report.calls) == (10, 10, 20)
    assert done.report.refused == {}


def several(count: Callable[[str], int]) -> Callable[[Messages], str]:
    def script(messages: Messages) -> str:
        subject = subject_of(messages)
        texts = [f"{kind} {subject}" for kind in ("uses of", "history of", "who makes")][: count(subject)]
        return f"[[ ## queries ## ]]\n{json.dumps(texts)}\n\n[[ ## completed ## ]]"

    return script


def test_a_capable_model_writes_several_queries_in_one_call(tmp_path: Path) -> None:
    client = scripted(several(lambda subject: 3), tmp_path)
    done = written(client, tmp_path, queries=12, per_passage=3, structured="always")
    assert (done.report.calls, done.report.written) == (4, 12)
    assert len({pair.id for pair in done.pairs}) == 12
    assert len({pair.group for pair in done.pairs}) == 4
    assert all(
        len({row.type for row in done.rows if row.positives[0].id == p}) == 3 for p in {x.group for x in done.pairs}
    )


def test_a_list_that_is_too_short_costs_what_it_lacks(tmp_path: Path) -> None:
    client = scripted(several(lambda subject: 2), tmp_path)
    done = written(client, tmp_path, queries=12, per_passage=3, structured="always")
    assert (done.report.written, done.report.refused) == (8, {"not in the asked format": 4})


UNKNOWN = LlmOptions(model="ollama_chat/llama3.2")


def test_a_model_that_keeps_no_typed_format_is_asked_for_one_text_at_a_time(tmp_path: Path) -> None:
    seen: list[str] = []

    def script(messages: Messages) -> str:
        seen.append(messages[0]["content"])
        return f"{sum(map(ord, messages[-1]['content']))} {subject_of(messages)}"

    done = written(scripted(script, tmp_path, options=UNKNOWN), tmp_path, queries=12, per_passage=3)
    assert (done.report.written, done.report.refused, done.ended_by) == (12, {}, None)
    typed = sum("[[ ##" in chat or "JSON" in chat for chat in seen)
    assert done.report.misread == typed == 8, "two passages, two attempts, in two formats"
    assert done.report.calls == len(seen) == 8 + 12, "what was paid stays counted"
    assert len({pair.id for pair in done.pairs}) == 12
    assert json.loads((tmp_path / "out" / "pairs.json").read_text())["misread"] == 8
    again = scripted(script, tmp_path, options=UNKNOWN)
    assert written(again, tmp_path, queries=12, per_passage=3).pairs == done.pairs
    assert len(seen) == 20, "nothing is paid again"


def test_one_passage_alone_is_enough_to_see_that_a_model_keeps_no_typed_format(tmp_path: Path) -> None:
    client = scripted(lambda messages: f"uses of {subject_of(messages)}", tmp_path, options=UNKNOWN)
    assert written(client, tmp_path, {"d1": POOL["d1"]}).report.written == 1


def test_typed_outputs_that_were_asked_for_are_never_given_up(tmp_path: Path) -> None:
    client = scripted(about_its_subject, tmp_path, options=UNKNOWN)
    done = written(client, tmp_path, structured="always")
    assert done.pairs == ()
    assert "does not keep the format of queries.py; do not force typed outputs on it" in str(done.ended_by)


def test_a_small_model_writes_one_query_a_call(tmp_path: Path) -> None:
    client = scripted(lambda messages: f"{sum(map(ord, messages[-1]['content']))} {subject_of(messages)}", tmp_path)
    done = written(client, tmp_path, queries=6, per_passage=2)
    assert (done.report.calls, len({pair.group for pair in done.pairs})) == (6, 3)


def test_every_row_names_what_it_came_from(tmp_path: Path) -> None:
    done = written(scripted(about_its_subject, tmp_path), tmp_path)
    rows = load_rows(tmp_path / "out")
    assert tuple(rows) == done.rows
    first = rows[0]
    assert (first.stage, first.model, first.program, first.instruction) == (
        "queries",
        "scripted:test",
        "queries.py",
        "t",
    )
    assert len(first.program_hash) == 64
    assert list((tmp_path / "llm").glob(f"*/{first.request}.json")), "the whole chat is in the cache of answers"
    from datasets import load_from_disk

    stored = load_from_disk(str(tmp_path / "out" / "rows"))
    assert stored["query"][:] == [row.query for row in rows]
    assert stored[0]["positives"] == [{"text": first.positives[0].text, "id": first.positives[0].id, "grade": 3}]
