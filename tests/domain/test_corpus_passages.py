"""Long documents are cut at sentence ends into passages that a start can read whole."""

from __future__ import annotations

import pytest

from stm_agent.domain.collection import Document
from stm_agent.domain.passages import PART_PASSAGES, PASSAGE_TOKENS, cut_passages, draw_passages, rough_tokens

LANGUAGES = {
    "English": "The kettle boils when the water is hot enough. Nobody waits for it!",
    "German": "Das Wasser kocht, sobald es heiß genug ist. Niemand wartet darauf!",
    "Russian": "Чайник кипит, когда вода достаточно горячая. Никто не ждёт его!",
    "Chinese": "水足够热的时候水壶就开了。没有人等它！",
    "Arabic": "تغلي الغلاية عندما يكون الماء ساخنا بما فيه الكفاية. هل ينتظرها أحد؟",
    "Hindi": "पानी काफी गरम होने पर केतली उबलती है। कोई उसका इंतज़ार नहीं करता।",
}


def corpus(count, sentences=3):
    text = " ".join(f"Sentence {number} says something about tea and water." for number in range(sentences))
    return [Document(f"d{number}", "", f"Document {number} begins here. {text}") for number in range(count)]


@pytest.mark.parametrize("language", LANGUAGES)
def test_passages_end_with_sentences_and_hold_all_of_the_text(language):
    text = LANGUAGES[language] * 40 if language == "Chinese" else " ".join([LANGUAGES[language]] * 40)
    passages = cut_passages([Document("d", "", text)])
    assert len(passages.documents) > 3
    for passage in passages.documents:
        assert passage.text[-1] in ".!?。！؟।"
        assert rough_tokens(passage.full) <= PASSAGE_TOKENS
    assert "".join("".join(passage.text.split()) for passage in passages.documents) == "".join(text.split())
    assert [passage.id for passage in passages.documents][:2] == ["d#1", "d#2"]


def test_passages_of_a_document_are_of_about_one_length():
    (document,) = corpus(1, sentences=30)
    sizes = [rough_tokens(passage.text) for passage in cut_passages([document]).documents]
    assert min(sizes) > max(sizes) / 2


def test_a_sentence_longer_than_a_passage_is_cut_between_words_and_without_spaces_between_letters():
    for text, cut in (("word " * 1000, " "), ("水" * 1000, ""), ("x" * 100_000, "")):
        passages = cut_passages([Document("d", "", text)]).documents
        assert max(rough_tokens(passage.text) for passage in passages) <= PASSAGE_TOKENS
        assert cut.join(passage.text for passage in passages) == text.strip()


def test_a_title_stands_before_every_passage_and_leaves_room_for_the_text():
    (document,) = corpus(1, sentences=60)
    for title in ("Tea", "A title of many words " * 20):
        passages = cut_passages([Document("d", title, document.text)]).documents
        assert all(passage.full.startswith(title[:10]) for passage in passages)
        assert max(rough_tokens(passage.full) for passage in passages) <= PASSAGE_TOKENS


def test_passages_are_drawn_over_documents_before_a_second_one_of_any():
    passages = cut_passages([*corpus(5), Document("long", "", corpus(1, sentences=600)[0].text)])
    drawn = draw_passages(passages, 12, seed=0)
    parts = [passages.part_of[key] for key in drawn]
    assert len(set(parts)) == len(set(passages.part_of.values()))
    assert {"d0#0", "d4#0", "long#0", "long#1"} <= set(parts)
    assert list(drawn) == list(draw_passages(passages, 12, seed=0)) != list(draw_passages(passages, 12, seed=1))


def test_boilerplate_copies_and_scraps_get_no_query():
    licence = "This text may be copied by everybody who names its author and its source in full and in good faith."
    short = [Document("short", "", "Too short.")]
    documents = [Document(f"d{number}", "", licence) for number in range(3)]
    copies = [Document(f"c{number}", "", licence.replace("text", "tea")) for number in range(2)]
    assert list(draw_passages(cut_passages([*short, *documents, *copies]), 10, seed=0)) == ["c0#1"]


def test_a_part_of_a_long_document_is_some_passages_in_a_row():
    passages = cut_passages([Document("long", "", corpus(1, sentences=600)[0].text)])
    assert passages.part_of[f"long#{PART_PASSAGES}"] == "long#0"
    assert passages.part_of[f"long#{PART_PASSAGES + 1}"] == "long#1"


@pytest.mark.assets
def test_passages_fit_the_window_as_the_embedded_tokenizer_counts():
    from stm_agent.assets.pull import find_asset
    from stm_agent.domain.measures import token_counter

    find_asset("all-minilm-l6-v2")
    count, name = token_counter()
    if not name.startswith("tokens of"):
        pytest.skip("the embedded encoder is not on this machine")
    texts = [passage.full for passage in cut_passages(corpus(1, sentences=300)).documents]
    assert max(count(texts)) <= PASSAGE_TOKENS
