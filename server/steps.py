"""Which forwards brought a delta's tokens."""

from __future__ import annotations

from engine.messages import Forward
from server.protocol.steps import Source, Step, StepToken
from server.transcript import Delta


def steps_of(delta: Delta, with_reasoning: bool = True) -> list[Step]:
    """The delta's forwards in order, with the tokens that each committed; thoughts only where they may be seen."""
    tokens: dict[int, list[StepToken]] = {id(forward): [] for forward in delta.forwards}
    for token, text, reasoning in delta.by_token():
        assert token.forward is not None
        said = StepToken(text=text, source=source_of(token.forward, token.place))
        if reasoning and with_reasoning:
            said.reasoning = reasoning
        tokens[id(token.forward)].append(said)
    return [
        Step(
            committed=forward.committed,
            accepted=forward.accepted,
            drafted=forward.drafted,
            decode=forward.decodes,
            tokens=tokens[id(forward)],
        )
        for forward in delta.forwards
    ]


def source_of(forward: Forward, place: int) -> Source:
    """Where token number `place` of a forward came from."""
    if forward.denoised:
        return "denoised"
    if place < forward.accepted:
        return "draft"
    if not forward.drafted:
        return "ar"
    return "correction" if forward.accepted < forward.drafted else "bonus"
