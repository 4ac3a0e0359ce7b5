"""The engine: submit → schedule → plan windows → one forward → resolve → publish, again and again."""

from __future__ import annotations

import resource
import time
from pathlib import Path

import msgspec
import torch
from torch import Tensor

from engine.admission import check_request, stop_tokens
from engine.config import EngineConfig
from engine.errors import NAN_MESSAGE, RequestError
from engine.grammar.waiting import GrammarQueue
from engine.mask_drafts import MaskDrafts, Sampled
from engine.messages import EngineStats, Forward, Output, Ready, Submit
from engine.policy.base import Load
from engine.relief import Relief, ran_out
from engine.resident.build import make_loop
from engine.sampling.confidence import confidences
from engine.sampling.logprobs import token_logprobs
from engine.sampling.row import Row
from engine.sampling.sampler import Sampler
from engine.sequence import Sequence
from engine.setup import Parts, build
from engine.stats import StatsRecorder
from engine.strategies.base import Resolution
from engine.strategies.drafter import Decided
from engine.window import Window

#: how long a step that has nothing else to do waits for a grammar, in seconds
GRAMMAR_SECONDS = 0.01


class Engine:
    """Token ids in, token ids out, in this process. Not thread safe: one loop calls `submit`, `abort` and `step`."""

    def __init__(self, config: EngineConfig) -> None:
        self._parts: Parts = build(config)
        self.config = self._parts.config
        self.scheduler = self._parts.scheduler
        self.runner = self._parts.runner
        self.policy = self._parts.policy
        self.sampler = Sampler(self._parts.model_config.vocab_size, self._parts.device, self._parts.triton)
        self.mask_drafts = MaskDrafts(self._parts.strategy, self.runner, self.sampler)
        self.grammars = GrammarQueue(self._parts.grammars)
        self.relief = Relief(self.scheduler)
        self.recorder = StatsRecorder()
        self._sequences: dict[str, Sequence] = {}
        self._finished: list[Sequence] = []
        self._submitted = 0
        self.resident = make_loop(self._parts, self.recorder)

    def ready(self) -> Ready:
        graphs = 0 if self.resident is None else self.resident.graph_bytes
        return msgspec.structs.replace(self._parts.ready, graph_bytes=graphs)

    @property
    def has_work(self) -> bool:
        return bool(self._sequences or self._finished or (self.resident is not None and self.resident.busy))

    def submit(self, request: Submit) -> None:
        """Queue one request. Raises RequestError where it can never be served."""
        if request.request_id in self._sequences:
            raise RequestError(f"A request with id {request.request_id!r} is already running.", "request_id")
        sequence = self._sequence(request)
        self._sequences[request.request_id] = sequence
        if self.grammars.prepare(sequence):
            self.scheduler.add(sequence)

    def abort(self, request_ids: list[str]) -> None:
        """Stop these requests; unknown ids (already finished) are ignored."""
        for request_id in request_ids:
            sequence = self._sequences.get(request_id)
            if sequence is not None:
                sequence.finish_reason = "abort"
                self._finish(sequence)

    def step(self) -> list[Output]:
        """One forward over every sequence that can take part, and what it published (by the forward before it, where
        the resident loop runs ahead)."""
        self._take_compiled()
        if self.resident is not None and (landed := self.resident.step()) is not None:
            self.relief.fitted()
            return self._publish(landed)
        started = time.perf_counter()
        budget, records = self.scheduler.max_num_batched_tokens, self.scheduler.records()
        choice = self.policy.choose_each(self.scheduler.load(), budget, records)
        windows = self.scheduler.schedule(choice)
        if not windows:
            self.relief.restore()
            return self._publish([])
        # with those admitted just now and without the preempted
        load = self.scheduler.load()
        self.recorder.chose(choice.commonest(window.sequence.record for window in windows))
        try:
            hidden = self.runner.forward(windows)
            self._score_prompts(windows, hidden)
            sampled = self._sample(windows, hidden)
        except Exception as error:
            if not self._relievable(error):
                raise
            # Nothing has been committed yet, so what does not fit can be done again.
            self.relief.shrink(windows)
            return self._publish([window.sequence for window in windows])
        self.relief.fitted()
        decided = self._resolve(windows, sampled)
        self._count(decided)
        self._draft(decided, sampled, hidden, choice.common.draft_length)
        self._record(windows, decided, load, time.perf_counter() - started)
        return self._publish([window.sequence for window in windows])

    def stats(self) -> EngineStats:
        """A snapshot; the caller must not change it."""
        totals, pool = self.recorder.totals, self.scheduler.pool
        totals.running = len(self.scheduler.running)
        totals.waiting = len(self.scheduler.waiting) + len(self.grammars)
        totals.pages_total, totals.pages_used = pool.num_pages, pool.used
        totals.tokens_per_second = self.recorder.tokens_per_second()
        totals.expected_tokens_per_second = self.policy.expected_rate(self.scheduler.load())
        totals.resident_bytes = _resident_bytes()
        totals.preemptions = self.scheduler.preemptions
        totals.prefix_cache_queries = self.scheduler.prefix_queries
        totals.prefix_cache_hits = self.scheduler.prefix_hits
        return totals

    def check_whole(self) -> None:
        """Raises EngineError where a process of a split model has died."""
        if self._parts.followers is not None:
            self._parts.followers.check()

    def close(self) -> None:
        """End the other processes of a split model; the engine can do nothing more."""
        self._parts.close()

    def check_idle(self) -> None:
        """Assert that an idle engine holds nothing: every page free, the page books balanced."""
        self.scheduler.pool.check()
        if not self.has_work:
            assert self.scheduler.pool.used == 0, f"{self.scheduler.pool.used} pages leaked"

    def _sequence(self, request: Submit) -> Sequence:
        params, ready = request.params, self._parts.ready
        check_request(request, ready)
        max_len = ready.max_model_len
        if params.max_tokens is not None:
            max_len = len(request.prompt_token_ids) + params.max_tokens
        if (refusal := self._parts.strategy.refusal(request, max_len)) is not None:
            raise refusal
        return Sequence(request, self._seed(params.seed), max_len, stop_tokens(params, ready))

    def _seed(self, seed: int | None) -> int:
        """A request's own seed as a signed 64-bit number, or the next one of the engine's."""
        self._submitted += 1
        if seed is None:
            seed = hash((self.config.seed, self._submitted, 0x71DA2))
        return (seed + 2**63) % 2**64 - 2**63

    def _take_compiled(self) -> None:
        """Let in the requests whose grammar is compiled; wait a moment for one where there is nothing else to do."""
        if not len(self.grammars):
            return
        busy = self.scheduler.running or self.scheduler.waiting
        for sequence in self.grammars.ready(0.0 if busy else GRAMMAR_SECONDS):
            if sequence.finish_reason is None:
                self.scheduler.add(sequence)
            else:
                del self._sequences[sequence.request_id]
                self._finished.append(sequence)

    def _score_prompts(self, windows: list[Window], hidden: Tensor) -> None:
        """Log-probabilities of prompt tokens, for the requests that want them."""
        for window in windows:
            sequence = window.sequence
            count = sequence.params.prompt_logprobs
            first = len(sequence.prompt_logprobs)
            last = min(sequence.prefix_len + window.shape.clean, sequence.prompt_len - 1)
            if count is None or first > last:
                continue
            rows = range(window.start + first - 1 - sequence.prefix_len, window.start + last - sequence.prefix_len)
            logits = self.runner.logits(hidden, list(rows))
            sequence.prompt_logprobs += token_logprobs(logits, sequence.tokens[first : last + 1], count)

    def _sample(self, windows: list[Window], hidden: Tensor) -> Sampled:
        """What follows every target row, and mask rows that may as well be sampled with them."""
        strategy = self._parts.strategy
        rows = [row for window in windows for row in strategy.rows(window)]
        if not rows:
            return Sampled([], hidden[:0], [], [], set(), {})
        early = {} if self.policy.wants_hints else self.mask_drafts.early(windows)
        flat = [window.start + row for window in windows for row in window.targets]
        logits = self.runner.logits(hidden, [*flat, *early])
        broken = _broken(logits)
        if strategy.never is not None:
            logits = _without(logits, strategy.never)
        tokens = self.sampler.sample(logits, [*rows, *early.values()])
        count = len(rows)
        confidence = confidences(logits, tokens, strategy.confidence) if strategy.confidence else []
        drafts = dict(zip(early, tokens[count:], strict=True))
        return Sampled(rows, logits[:count], tokens[:count], confidence, broken, drafts)

    def _resolve(self, windows: list[Window], sampled: Sampled) -> list[Decided]:
        """Let the strategy commit what was sampled, and move sequences and cache forward."""
        decided = []
        first = 0
        for window in windows:
            span = slice(first, first + len(window.targets))
            first = span.stop
            if not sampled.broken.isdisjoint(range(span.start, span.stop)):
                window.sequence.fail(NAN_MESSAGE)
                self.scheduler.pool.forget(window.sequence.pages)
            else:
                tokens = sampled.tokens[span]
                resolution = self._parts.strategy.resolve(window, tokens, sampled.confidence[span])
                decided.append(self._commit(window, resolution, span.start))
                self._keep_logprobs(decided[-1], sampled.rows[span], tokens, sampled.logits[span])
        return decided

    def _commit(self, window: Window, resolution: Resolution, first_target: int) -> Decided:
        sequence = window.sequence
        if resolution.path is not None:
            self.runner.keep(window, resolution.path)
        committed = sequence.append(resolution.committed)
        if committed or (window.decodes and sequence.finish_reason is None):
            sequence.count_forward(_forward(window, resolution, committed))
        self.scheduler.commit(sequence, min(resolution.kept, sequence.pending))
        sequence.drafts = []
        return Decided(window, resolution, committed, first_target)

    @staticmethod
    def _keep_logprobs(decided: Decided, rows: list[Row], sampled: list[int], logits: Tensor) -> None:
        """Log-probabilities of the tokens that this step decided, held back until these are committed."""
        sequence, fixed = decided.window.sequence, decided.resolution.fixed
        count = sequence.params.logprobs
        if count is None:
            return
        # where a grammar ends there is a row without a token
        chosen = [i for i in (range(decided.committed) if fixed is None else fixed) if sampled[i] >= 0]
        if chosen:
            scored = token_logprobs(logits[chosen], [sampled[i] for i in chosen], count)
            sequence.held_logprobs.update({rows[i].position: each for i, each in zip(chosen, scored, strict=True)})
        first = len(sequence.tokens) - decided.committed
        sequence.logprobs += [sequence.held_logprobs.pop(p) for p in range(first, len(sequence.tokens))]

    def _draft(self, decided: list[Decided], sampled: Sampled, hidden: Tensor, draft_length: int) -> None:
        """What may come next: from this forward's own mask rows, and from a drafter where there is one."""
        drafter = self._parts.drafter
        try:
            self.mask_drafts.take(decided, sampled, hidden, self.policy.wants_hints)
            if drafter is not None:
                drafter.propose(decided, hidden, draft_length)
        except Exception as error:
            if not self._relievable(error):
                raise
            # Without drafts the next step commits one token, and nothing is lost.
            for d in decided:
                d.window.sequence.drafts, d.window.sequence.record.hint = [], None
                if drafter is not None:
                    d.window.sequence.state = None
                    drafter.forget(d.window.sequence)

    def _relievable(self, error: Exception) -> bool:
        """Whether a smaller step may do what this one could not; a split model's ranks are no longer in step."""
        return ran_out(error) and self._parts.followers is None

    def _count(self, decided: list[Decided]) -> None:
        """What became of each window's drafts."""
        for d in decided:
            if d.window.decodes and (d.committed or d.window.sequence.finish_reason is None):
                self.recorder.decode(d.window, d.committed)
                sequence = d.window.sequence
                self.policy.observe_window(d.window.drafted, len(d.resolution.committed) - 1, sequence.record)
            elif not d.window.decodes:
                self.recorder.prefill(len(d.window.tokens))

    def _record(self, windows: list[Window], decided: list[Decided], load: Load, seconds: float) -> None:
        self.recorder.step(windows, seconds, sum(d.committed for d in decided))
        if all(window.decodes for window in windows):
            self.policy.observe_step(self.recorder.last_rows, load, seconds)

    def _finish(self, sequence: Sequence) -> None:
        del self._sequences[sequence.request_id]
        if self.resident is not None:
            self.resident.keep_pages(sequence)
        if self._parts.drafter is not None:
            self._parts.drafter.forget(sequence)
        if not self.grammars.withdraw(sequence):
            self.scheduler.remove(sequence)
        self._finished.append(sequence)

    def _publish(self, stepped: list[Sequence]) -> list[Output]:
        outputs = []
        for sequence in stepped:
            if sequence.finish_reason is not None:
                self._finish(sequence)
            elif sequence.has_news:
                outputs.append(sequence.take_output())
        outputs += [sequence.take_output() for sequence in self._finished]
        self._finished.clear()
        return outputs


def _forward(window: Window, resolution: Resolution, committed: int) -> Forward:
    """What the window's forward gave its sequence, which took so many of the tokens."""
    agreed = max(0, len(resolution.committed) - 1) if window.drafted else 0
    # a tree names the targets that it decided too, but its tokens were verified
    denoised = resolution.fixed is not None and resolution.path is None
    return Forward(committed, min(agreed, committed), window.drafted, window.decodes, denoised)


def _broken(logits: Tensor) -> set[int]:
    """Rows that hold a NaN or +inf; one reduction when all is well."""
    if torch.isfinite(logits.sum()):
        return set()
    bad = ~torch.isfinite(logits).all(-1)
    return set(bad.nonzero().flatten().tolist())


@torch.inference_mode()
def _without(logits: Tensor, token: int) -> Tensor:
    """The logits [rows, vocab_size] themselves, where this token can no longer be sampled."""
    logits[:, token] = float("-inf")
    return logits


def _resident_bytes() -> int:
    """Memory this process holds in RAM; 0 where the system does not say."""
    try:
        return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()
    except OSError:
        return 0
