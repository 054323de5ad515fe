"""What a new project can start from."""

from __future__ import annotations

from stm_agent.annotate.schema import Block, DocumentField, InputSource, Level, ProjectSchema

_FIELDS = (
    DocumentField(id="title", name="title", content=True),
    DocumentField(id="text", name="text", content=True, ai_input=True),
)
_GRADES = (
    Level(id="0", name="Not relevant", colour="#8a8f98", score=0, help="Does not help with the query."),
    Level(id="1", name="Related", colour="#b7791f", score=1, help="On the topic, and does not answer it."),
    Level(id="2", name="Relevant", colour="#2f855a", score=2, help="Answers a part, or with other words around it."),
    Level(id="3", name="Answers it", colour="#2b6cb0", score=3, help="Answers the query, whole and directly."),
)
_TWO = (
    Level(id="irrelevant", name="Irrelevant", colour="#8a8f98", score=0, help="Evidence that misleads."),
    Level(id="relevant", name="Relevant", colour="#2f855a", score=1, help="Evidence for the answer."),
)
_QUESTION = Block(id="question", name="Question", role="query", required=True, placeholder="What does a user ask?")
_ANSWER = Block(
    id="answer",
    name="Answer",
    type="longtext",
    mode="human",
    role="answer",
    prompt="Answer the question from the evidence alone, in at most three sentences. "
    "Put the id of the document you use in square brackets after each sentence.",
    inputs=(
        InputSource(kind="block", ref="question", label="Question", required=True),
        InputSource(kind="annotation", label="Evidence", required=True),
    ),
)

TEMPLATES: dict[str, ProjectSchema] = {
    "qa": ProjectSchema(fields=_FIELDS, levels=_TWO, blocks=(_QUESTION, _ANSWER)),
    "judging": ProjectSchema(fields=_FIELDS, levels=_GRADES),
    "negatives": ProjectSchema(fields=_FIELDS, levels=_TWO),
}
"""Question answering with evidence, relevance judging, and hard-negative review."""
