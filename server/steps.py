"""Which forwards brought a delta's tokens."""

from __future__ import annotations

from itertools import groupby

from engine.messages import Forward
from server.protocol.steps import Source, Step, StepToken
from server.transcript import Delta


def steps_of(delta: Delta, with_reasoning: bool = True) -> list[Step]:
    """The delta's tokens by the forward that committed them, in order; thoughts only where they may be seen."""
    steps = []
    for _, group in groupby(delta.by_token(), key=lambda part: id(part[0].forward)):
        parts = list(group)
        forward = parts[0][0].forward
        assert forward is not None
        tokens = []
        for token, text, reasoning in parts:
            said = StepToken(text=text, source=source_of(forward, token.place))
            if reasoning and with_reasoning:
                said.reasoning = reasoning
            tokens.append(said)
        steps.append(
            Step(
                committed=forward.committed,
                accepted=forward.accepted,
                drafted=forward.drafted,
                decode=forward.decodes,
                tokens=tokens,
            )
        )
    return steps


def source_of(forward: Forward, place: int) -> Source:
    """Where token number `place` of a forward came from."""
    if place < forward.accepted:
        return "draft"
    if not forward.drafted:
        return "ar"
    return "correction" if forward.accepted < forward.drafted else "bonus"
