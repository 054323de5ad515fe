"""What LLMs wrote is cleaned in one place, whole or streamed, and refused with a reason."""

from __future__ import annotations

import json

import pytest

from stm_agent.domain.scripts import LanguageProfile, units
from stm_agent.llm.checking import TextCheck, repeats
from stm_agent.llm.text import clean_text, text_lines, visible_text

TEXT = "A text on elbows and how they bend."
ENGLISH = LanguageProfile.of(["The knee is the joint of the leg, and it bears the weight of the body."] * 3)
FRENCH = LanguageProfile.of(["Le genou est une articulation de la jambe, et il porte le poids du corps."] * 3)
CHINESE = LanguageProfile.of(["膝关节是人体最大的关节，承受身体的重量。"] * 3)
JAPANESE = LanguageProfile.of(["膝は人体で最も大きな関節であり、体重を支えています。"] * 3)


@pytest.mark.parametrize(
    "answer",
    [
        f"<think>The user wants a passage.\n\nLet me see.</think>\n\n{TEXT}",
        f"The user wants a passage.</think>{TEXT}",
        f"```\n{TEXT}\n```",
        f"```text\n{TEXT}",
        f"Here is the passage:\n\n```\n{TEXT}\n```\nLet me know if you want another.",
        json.dumps({"hard_negative": TEXT}),
        json.dumps([TEXT, "Another."]),
        f"```json\n{json.dumps({'passage': TEXT, 'why': 'It is near.'})}\n```",
        f"1. {TEXT}",
        f"- {TEXT}",
        f"1. {TEXT}\n2. Another text on elbows and how they do not bend.",
        f"Hard negative passage: {TEXT}",
        f"**Hard negative:** {TEXT}",
        f"hard_negative: {TEXT}",
        f"### Passage:\n{TEXT}",
        f"Here is a hard negative passage: {TEXT}",
        f"Here's one on elbows:\n\n{TEXT}",
        f"Sure! {TEXT}",
        f'Sure, here is a passage that does not answer the query:\n\n"{TEXT}"',
        f"“{TEXT}”",
        f"**{TEXT}**",
        f'"{TEXT}',
        f"{TEXT}\n\nNote: This passage does not answer the query.",
    ],
)
def test_what_stands_around_a_passage_is_taken_away(answer: str) -> None:
    assert clean_text(answer, "passage") == TEXT


def test_a_passage_of_several_paragraphs_is_whole() -> None:
    passage = f"{TEXT}\n\nThe second paragraph is on wrists.\n\n- One point.\n- Another point."
    assert clean_text(f"Passage:\n{passage}", "passage") == passage


def test_a_list_of_short_points_is_a_passage() -> None:
    passage = "1. Rest\n2. Ice\n3. Compression\n4. Elevation"
    assert clean_text(passage, "passage") == passage


@pytest.mark.parametrize(
    ("answer", "query"),
    [
        ('"a b"', "a b"),
        ("Query: a b\nIt is short.", "a b"),
        ("1. a b\n2. c d", "a b"),
        ("查询：膝盖疼痛", "膝盖疼痛"),
        ('{"query": "a b"}', "a b"),
        ("pain: in the knee", "pain: in the knee"),
        ("1.5 T MRI of the knee", "1.5 T MRI of the knee"),
        ("dogs' knees", "dogs' knees"),
        ("okay google voice search", "okay google voice search"),
    ],
)
def test_a_query_is_one_line_and_keeps_its_own_marks(answer: str, query: str) -> None:
    assert clean_text(answer, "query") == query


@pytest.mark.parametrize("answer", ["<think>It never ends", "", "  \n ", "<think></think>"])
def test_thoughts_without_an_answer_are_empty(answer: str) -> None:
    assert clean_text(answer, "passage") == ""
    assert TextCheck("passage").fault(clean_text(answer, "passage")) == "empty"


def test_a_stream_shows_no_thoughts_at_any_moment() -> None:
    answer = "<think>secret plan</think>The <b>answer</b>"
    shown = [visible_text(answer[:end]) for end in range(len(answer) + 1)]
    assert not any("secret" in text or "<t" in text for text in shown)
    assert shown[-1] == "The <b>answer</b>"


def test_lines_of_a_list_lose_numbers_headings_and_marks() -> None:
    answer = 'Here are five instructions:\n1. "Find a passage."\n2) Find an answer.\n* **Find it.**'
    assert text_lines(answer) == ["Find a passage.", "Find an answer.", "Find it."]


@pytest.mark.parametrize(
    "answer",
    [
        "I'm sorry, but I can't help with that request.",
        "I\u2019m sorry, but I cannot write this.",
        "As an AI language model, I do not have a body.",
        "Sorry, I can't assist with that.",
        "I cannot provide medical advice of this kind.",
        "Es tut mir leid, dabei kann ich nicht helfen.",
        "抱歉，我无法回答这个问题。",
    ],
)
def test_refusals_are_refused(answer: str) -> None:
    assert TextCheck("passage").fault(answer) == "refusal"


def test_a_text_about_sorrow_is_no_refusal() -> None:
    assert TextCheck("passage").fault("The song I am Sorry was a hit of Brenda Lee in 1960.") is None


def test_an_answer_that_ended_at_its_limit_is_cut_off() -> None:
    assert TextCheck("passage").fault(TEXT, "length") == "cut off"
    assert TextCheck("passage").fault('{"passage": "a text with no end') == "not in the asked format"


@pytest.mark.parametrize(
    ("profile", "text", "foreign"),
    [
        (ENGLISH, "膝盖是一个关节。", True),
        (ENGLISH, "Колено болит при ходьбе", True),
        (ENGLISH, "knee pain at night", False),
        (ENGLISH, "Der Ellenbogen ist ein Gelenk und verbindet die Knochen des Arms.", True),
        (FRENCH, "The elbow is the joint of the arm and it is often hurt.", True),
        (FRENCH, "Le coude est l'articulation du bras.", False),
        (CHINESE, "The elbow is a joint.", True),
        (CHINESE, "肘关节是上肢的关节。", False),
        (CHINESE, "MRI检查与CT检查", False),
        (JAPANESE, "肘关节是上肢的重要关节，由三个关节组成，非常灵活。", True),
        (JAPANESE, "肘は腕の関節です。", False),
        (LanguageProfile.of([]), "anything at all", False),
    ],
)
def test_another_language_than_the_corpus_is_refused(profile: LanguageProfile, text: str, foreign: bool) -> None:
    assert profile.is_foreign(text) is foreign
    assert (TextCheck("query", profile=profile).fault(text) == "another language") is foreign


@pytest.mark.parametrize(
    ("text", "other"),
    [
        ("The knee bends.", "the KNEE bends"),
        ("膝关节是人体最大的关节", "膝关节是人体最大的关节。"),
        ("膝关节是人体最大的关节，承受重量", "我们知道膝关节是人体最大的关节，承受重量，也最易受伤。"),
        ("ข้อเข่าเป็นข้อต่อที่ใหญ่ที่สุด", "ข้อเข่าเป็นข้อต่อที่ใหญ่ที่สุด"),
        ("घुटने का दर्द रात में", "घुटने का दर्द रात में"),
        (
            "The knee is the largest joint of the body",
            "We know: the knee is the largest joint of the body, too.",
        ),
    ],
)
def test_a_copy_of_the_input_is_found_in_every_script(text: str, other: str) -> None:
    assert repeats(text, other)


@pytest.mark.parametrize(
    ("text", "other"),
    [
        ("膝关节疼痛怎么办", "肘关节是上肢的关节，由三个关节组成。"),
        ("knee pain", "Knee pain is common in adults."),
        ("", "a"),
    ],
)
def test_a_text_of_its_own_is_no_copy(text: str, other: str) -> None:
    assert not repeats(text, other)


@pytest.mark.parametrize("query", ["gout", "膝关节", "癌", "โรคเกาต์", "膝の痛み"])
def test_short_queries_pass(query: str) -> None:
    assert TextCheck("query").fault(query) is None


@pytest.mark.parametrize(
    ("text", "like", "fault"),
    [
        ("No.", "", "too short"),
        ("膝关节", "", "too short"),
        ("膝关节是人体最大的关节", "", None),
        ("Gout", "Arthritis", None),
        ("...", "", "empty"),
    ],
)
def test_a_passage_is_not_shorter_than_passages_are(text: str, like: str, fault: str | None) -> None:
    assert TextCheck("passage", model_text=like).fault(text) == fault


def test_vowel_signs_belong_to_their_word() -> None:
    assert units("का और की") == ["का", "और", "की"]
    assert units("Größe, GRÖSSE") == ["grösse", "grösse"]
