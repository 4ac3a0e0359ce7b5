"""What a stream says of the forwards behind its tokens; only with `stream_options.include_steps`."""

from __future__ import annotations

from typing import Literal

from server.protocol.fields import ResponseModel

Source = Literal["draft", "correction", "bonus", "ar", "denoised"]


class StepToken(ResponseModel):
    """One token: what it adds to the text or the thoughts, and where it came from.

    `draft`: an accepted draft. `correction`: the AR row's own word, where it refused a draft. `bonus`: its word after
    drafts that were all right. `ar`: its word where there were no drafts to verify. `denoised`: decided on a mask row.
    """

    text: str
    reasoning: str | None = None
    source: Source


class Step(ResponseModel):
    """One forward: tokens committed, drafts accepted among them and drafts verified; `decode` but for a prompt's.

    `tokens` are those that this chunk carries: fewer than `committed` where the answer ended before them. A
    forward that denoises may commit none.
    """

    committed: int
    accepted: int
    drafted: int
    decode: bool
    tokens: list[StepToken]


class StepInfo(ResponseModel):
    """The forwards that brought a chunk's tokens, in order."""

    steps: list[Step]
