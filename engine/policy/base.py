"""The interface of a drafting policy."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from engine.policy.record import DraftRecord
from engine.strategies.base import DraftChoice


@dataclass(frozen=True, slots=True)
class Load:
    """What a step has to carry whatever is drafted: `sequences` in flight and the sum of their prefixes, in tokens."""

    sequences: int
    keys: int = 0


@dataclass(frozen=True, slots=True)
class StepChoice:
    """A setting for every sequence of a step: `common`, or its class's where there are any (see DraftRecord.kind), or
    for the few that are `scouts` one of their own; `refined` makes of it what suits the window's own drafts."""

    common: DraftChoice
    classes: tuple[DraftChoice, ...] = ()
    usual: float = 0.0
    scouts: Sequence[DraftRecord] = ()
    scouting: DraftChoice | None = None
    refined: Callable[[DraftRecord, DraftChoice], DraftChoice] | None = None

    def of(self, record: DraftRecord) -> DraftChoice:
        if self.scouting is not None and any(record is scout for scout in self.scouts):
            return self.scouting
        choice = self.classes[record.kind(self.usual)] if self.classes else self.common
        return choice if self.refined is None else self.refined(record, choice)

    def commonest(self, records: Iterable[DraftRecord]) -> DraftChoice:
        """The setting of most of these sequences, of which there is at least one."""
        if not self.classes:
            return self.common
        return Counter(self.classes[record.kind(self.usual)] for record in records).most_common(1)[0][0]


class Policy(ABC):
    """Chooses (k, S) for a step and learns from what came of it. The choice never changes a token, only its price."""

    #: whether the records should hold a Hint of the drafts at hand
    wants_hints = False

    @abstractmethod
    def choose(self, load: Load, row_budget: int) -> DraftChoice:
        """One setting for all sequences of a step under this load, within so many rows."""

    def choose_each(self, load: Load, row_budget: int, records: Sequence[DraftRecord]) -> StepChoice:
        """The same where sequences may differ; `records` are those of the sequences that run."""
        return StepChoice(self.choose(load, row_budget))

    @abstractmethod
    def observe_window(self, drafted: int, accepted: int, record: DraftRecord) -> None:
        """A decode window had `drafted` drafts beside d_0, `accepted` of them right; `record` is its request's."""

    @abstractmethod
    def observe_step(self, rows: int, load: Load, seconds: float) -> None:
        """A step of decode windows only, so many rows in all, took so long."""

    @abstractmethod
    def expected_rate(self, load: Load) -> float:
        """Committed tokens per second that the present setting should give; 0 where the policy makes no estimate."""
