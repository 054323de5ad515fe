"""Who types waits for a moment of a model's work, never for the hours of it that go on in the background."""

from __future__ import annotations

import threading

import pytest

from stm_agent.annotate.actor import Actor
from stm_agent.annotate.services import documents, encoding, projects, searching
from stm_agent.annotate.services.turns import SLICE, Turn
from stm_agent.testing.annotate import client, fill
from stm_agent.testing.slow_model import SlowModel, lend

MEANT = {"q": "high temperature", "mode": "dense", "model": "tiny"}


def grow(tool, count):
    """Give the project ``count`` documents more."""
    with tool.database.writing() as session:
        row = projects.find(session, Actor(1, "Ada", "admin"), "signs")
        documents.add(session, row, ((f"m{number}", {"text": f"temperature {number}"}) for number in range(count)))


def begun(act):
    """Begin something beside the test."""
    thread = threading.Thread(target=act, daemon=True)
    thread.start()
    return thread


def until(fits):
    """Wait until it is so."""
    for _ in range(3000):
        if fits():
            return
        threading.Event().wait(0.01)
    pytest.fail("it never came")


def in_second_slice(slow):
    """Wait until a model that may encode once is asked to encode again."""
    until(lambda: slow.calls == 2)
    assert len(slow.asked) == SLICE


def test_a_search_gets_the_model_between_two_slices_of_the_background(small):
    fill(small)
    ada = client(small, "Ada")
    slow = lend(small, SlowModel())
    assert len(ada.get("/projects/signs/search", params=MEANT).json()) == 3
    model = small.models.get("tiny")
    slow.may = threading.Semaphore(1)
    slow.asked.clear()
    slow.calls = 0
    # Another project's documents: those of this one are in memory.
    texts = [f"another {number}" for number in range(encoding.PART)]
    background = begun(lambda: model.encode(texts))
    in_second_slice(slow)
    found = []
    search = begun(lambda: found.append(ada.get("/projects/signs/search", params=MEANT).json()))
    until(lambda: model._turn._ahead == 1)
    slow.may.release(2)
    search.join(30)
    assert len(found[0]) == 3
    assert slow.asked.index("high temperature") == 2 * SLICE, "the slice that was begun, then who types"
    slow.may.release(99)
    background.join(30)
    assert len(list(small.models.cache.folder.glob("*/*.npz"))) == 2, "one file a part"


def test_a_search_that_encodes_a_few_documents_does_not_wait_for_a_part(small):
    fill(small)
    ada = client(small, "Ada")
    slow = lend(small, SlowModel(may=1))
    model = small.models.get("tiny")
    background = begun(lambda: model.encode([f"another {number}" for number in range(encoding.PART)]))
    in_second_slice(slow)
    found = []
    search = begun(lambda: found.append(ada.get("/projects/signs/search", params=MEANT).json()))
    until(lambda: model._turn._ahead == 1)
    while search.is_alive():
        slow.may.release()
        search.join(0.2)
    assert len(found[0]) == 3
    assert slow.asked.index("high temperature") < encoding.PART, "the part is not done yet"
    slow.may.release(99)
    background.join(30)


def test_vectors_of_slices_are_in_the_order_of_the_texts(small):
    slow = lend(small, SlowModel())
    texts = [f"{'long ' * (number % 7)}{number}" for number in range(3 * SLICE + 1)]
    assert (small.models.get("tiny").encode(texts) == slow.encode(texts)).all()


def test_more_than_a_few_documents_are_not_encoded_while_one_waits(small):
    fill(small)
    lend(small, SlowModel())
    ada = client(small, "Ada")
    grow(small, searching.WAITED_FOR - 3)
    assert ada.get("/projects/signs/search", params=MEANT).status_code == 200
    more = [[f"x{number}", {"text": f"new {number}"}] for number in range(searching.WAITED_FOR + 1)]
    ada.post("/projects/signs/documents", json={"documents": more})
    assert searching.WAITED_FOR == 200, "docs/annotate.md says so"
    assert ada.get("/projects/signs/search", params=MEANT).status_code == 409


def test_those_who_come_first_go_before_those_who_came_before_them():
    turn, order, inside = Turn(), [], threading.Event()

    def take(name, *, first):
        with turn.taken(first=first):
            order.append(name)
            inside.set()

    with turn.taken(first=False):
        late = [begun(lambda number=number: take(f"job {number}", first=False)) for number in range(3)]
        ahead = begun(lambda: take("search", first=True))
        until(lambda: turn._ahead == 1)
    for thread in (*late, ahead):
        thread.join(30)
    assert order[0] == "search" and len(order) == 4


def test_a_turn_is_given_back_after_an_error():
    turn = Turn()
    with pytest.raises(ZeroDivisionError), turn.taken(first=True):
        raise ZeroDivisionError
    with turn.taken(first=False):
        assert turn._ahead == 0
