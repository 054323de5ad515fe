"""Corpora as people have them are read, or refused in one line that names the fix."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import pytest

from stm_agent.domain.corpus_files import read_corpus
from stm_agent.errors import DataError
from stm_agent.testing.pdf import pdf

ROWS = [{"_id": "a", "title": "Tea", "text": "Boil the water."}, {"_id": 7, "text": "Pour it."}]


def jsonl(rows):
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)


@pytest.fixture
def write(tmp_path):
    def write(name, content):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return path

    return write


def parquet(path: Path) -> Path:
    import pyarrow
    import pyarrow.parquet

    pyarrow.parquet.write_table(pyarrow.Table.from_pylist([{"id": row["_id"], **row} for row in ROWS[:1]]), path)
    return path


def documents(path):
    return [(document.id, document.title, document.text) for document in read_corpus(path).documents]


def test_every_kind_of_table_gives_the_same_documents(write, tmp_path):
    expected = [("a", "Tea", "Boil the water."), ("7", "", "Pour it.")]
    assert documents(write("c.jsonl", jsonl(ROWS))) == expected
    assert documents(write("c.jsonl.gz", gzip.compress(jsonl(ROWS).encode()))) == expected
    assert documents(write("c.csv", "\ufeffID,Title,Text\r\na,Tea,Boil the water.\r\n7,,Pour it.\r\n")) == expected
    assert documents(write("semicolons.csv", 'id;title;text\na;Tea;"Boil the water."\n7;;Pour it.\n')) == expected
    assert documents(write("c.tsv", "id\ttitle\ttext\na\tTea\tBoil the water.\n7\t\tPour it.\n")) == expected
    assert documents(parquet(tmp_path / "c.parquet")) == expected[:1]


def test_rows_without_ids_are_numbered_and_cells_may_hold_lines(write):
    assert documents(write("c.csv", 'passage,year\n"one\ntwo",1\nthree,2\n')) == [
        ("row-1", "", "one\ntwo"),
        ("row-2", "", "three"),
    ]


def test_half_of_a_surrogate_pair_in_a_text_is_replaced(write):
    assert documents(write("c.jsonl", '{"_id": "a", "text": "tea \\ud83d time"}\n')) == [("a", "", "tea ? time")]


def test_a_folder_gives_a_document_a_file_with_its_path_as_id(write, tmp_path):
    write("docs/a.txt", "First line\nof a paragraph.\n\nSecond paragraph.\n")
    write(
        "docs/b.md",
        "---\nauthor: me\n---\n# Making *tea*\n\nUse [water](x.html):\n\n- boil\n- pour\n\n| a | b |\n|-|-|\n|1|2|\n",
    )
    write(
        "docs/sub dir/c.html",
        "<html><head><title>Page</title><style>p{}</style></head><body><nav>Home</nav><script>x</script>"
        "<p>Caf&eacute;\n is open.</p><table><tr><td>one</td><td>two</td></tr></table></body></html>",
    )
    write("docs/.hidden/d.txt", "never read")
    write("docs/e.docx", "not read")
    write("docs/empty.txt", " \n")
    corpus = read_corpus(tmp_path / "docs")
    assert [(document.id, document.title, document.text) for document in corpus.documents] == [
        ("a.txt", "", "First line of a paragraph.\nSecond paragraph."),
        ("b.md", "Making tea", "Making tea\nUse water:\nboil\npour\na b\n1 2"),
        ("sub dir/c.html", "Page", "Café is open.\none two"),
    ]
    assert corpus.left_out == {"a .docx file": 1, "has no text": 1}
    assert "1 of 5 left out: has no text, such as empty.txt" in corpus.notes


def test_of_a_beir_folder_the_corpus_alone_is_read(write, tmp_path):
    write("beir/corpus.jsonl", jsonl(ROWS))
    write("beir/queries.jsonl", jsonl([{"_id": "q", "text": "how?"}]))
    write("beir/readme.md", "# About")
    assert [row[0] for row in documents(tmp_path / "beir")] == ["a", "7"]


def test_a_pdf_loses_its_running_heads_and_page_numbers(write, tmp_path):
    pages = [f"The Handbook\nSentence {number} about tea and wa-\nter {number}.\n{number}" for number in range(1, 6)]
    write("docs/book.pdf", pdf(pages))
    (document,) = read_corpus(tmp_path / "docs").documents
    assert document.text.split("\n") == [f"Sentence {number} about tea and water {number}." for number in range(1, 6)]


def encrypted():
    import io

    from pypdf import PdfReader, PdfWriter

    writer = PdfWriter(PdfReader(io.BytesIO(pdf(["secret"]))))
    writer.encrypt("word", algorithm="AES-256")
    stream = io.BytesIO()
    writer.write(stream)
    return stream.getvalue()


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("c.csv", "id,words,year\n1,tea,2\n", r"c.csv:2 has no column of texts \(its columns: id, words, year\); name"),
        ("c.jsonl", jsonl([*ROWS, ROWS[0]]), r"c.jsonl:3 repeats id 'a' of .*c.jsonl:1; make the ids unique"),
        ("c.jsonl", jsonl([{"_id": "a", "text": " "}]), r"no usable text \(1 has no text\)"),
        ("c.jsonl", jsonl([{"_id": "a", "text": 3}]), "has a text that is not a string"),
        ("c.jsonl", jsonl([{"_id": None, "text": "x"}]), "has id None; an id is"),
        ("c.jsonl", "", "no usable text .it is empty"),
        ("c.csv", "id,text\n1,a,b\n", "more cells than the header"),
        ("c.csv", b"id,text\n1,\xff\n", "is not UTF-8"),
        ("c.parquet", "no", "cannot read .*c.parquet"),
        ("c.docx", "no", "not a kind of file that can be read; name a .jsonl"),
        ("c.pdf", encrypted, "c.pdf is encrypted; remove its password"),
        ("c.pdf", lambda: pdf([""]), "c.pdf has no text; if its pages are scans"),
        ("c.pdf", "%PDF-1.4 torn", "c.pdf is not a PDF that can be read"),
        ("c.txt", b"caf\xe9", "c.txt is not UTF-8; convert it"),
    ],
)
def test_what_cannot_be_read_is_refused_in_one_line(write, name, content, message):
    path = write(name, content() if callable(content) else content)
    with pytest.raises(DataError, match=message) as refused:
        read_corpus(path)
    assert "\n" not in str(refused.value)


def test_a_missing_path_and_a_folder_without_texts_are_refused(write, tmp_path):
    with pytest.raises(DataError, match=r"does not exist; name a \.jsonl"):
        read_corpus(tmp_path / "none")
    write("docs/a.docx", "x")
    write("docs/scan.pdf", pdf([""]))
    with pytest.raises(DataError, match=r"no usable text \(1 a .docx file, 1 has no text\); name a \.jsonl"):
        read_corpus(tmp_path / "docs")
