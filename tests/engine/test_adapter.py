"""With an adapter a model drafts, and says what it says without one, whatever is drafted, batched or preempted."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from torch import Tensor

from engine.errors import EngineError
from engine.messages import Submit
from engine.params import SamplingParams
from engine.runner import Runner
from engine.sequence import Sequence
from engine.window import Window, WindowShape
from models.errors import ModelError
from tests.engine.adapters import save_random_adapter
from tests.engine.drive import Done, endings, make_engine, run
from tests.engine.drive import request as ask
from tests.engine.tiny import CONTEXT, save_random
from tests.engine.workload import prompts, workload


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_random(tmp_path_factory.mktemp("base"), "LlamaForCausalLM", drafts=False)


@pytest.fixture(scope="module")
def adapter(tmp_path_factory: pytest.TempPathFactory, base: Path) -> str:
    return str(save_random_adapter(tmp_path_factory.mktemp("adapter"), base))


@pytest.fixture(scope="module")
def plain(base: Path) -> dict[str, Done]:
    return run(make_engine(base, max_num_seqs=1, enable_prefix_caching=False), workload(25))


@pytest.mark.parametrize("predrafts", ["full", "none", "1", "auto"])
@pytest.mark.parametrize("k", [2, 4, 7])
def test_the_base_model_answers(base: Path, adapter: str, plain: dict[str, Done], k: int, predrafts: str) -> None:
    """Greedy and at temperatures, with seeds; k may be longer than the adapter's own."""
    engine = make_engine(base, adapter=adapter, draft_length=k, predrafts=predrafts)
    assert engine.ready().decoding == "tidar"
    assert endings(run(engine, workload(25))) == endings(plain)
    assert predrafts == "auto" or engine.stats().draft_tokens > 0


@pytest.mark.parametrize("tied", [False, True])
def test_chunks_small_pages_and_preemption_change_nothing(tmp_path: Path, tied: bool) -> None:
    folder = save_random(tmp_path / "base", "Qwen3ForCausalLM" if tied else "Qwen2ForCausalLM", drafts=False)
    adapter = str(save_random_adapter(tmp_path / "adapter", folder))
    expected = endings(run(make_engine(folder, max_num_seqs=1), workload(20)))
    engine = make_engine(
        folder,
        adapter=adapter,
        predrafts="full",
        max_num_batched_tokens=37,
        page_size=4,
        num_pages=CONTEXT // 4 + 8,
    )
    assert engine.ready().draft_length == 4
    assert endings(run(engine, workload(20))) == expected
    assert engine.stats().preemptions > 5


def test_clean_rows_are_the_base_models_bit_for_bit(base: Path, adapter: str) -> None:
    """Beside masks with an adapter, clean rows hold what they hold beside masks of the base model alone."""
    adapted = make_engine(base, adapter=adapter)
    own = make_engine(base, adapter=adapter)
    for layer in own.runner.model.layers:
        for name in ("qkv", "output", "gate_up", "down"):
            setattr(layer, name, getattr(layer, name).base)
    shape = WindowShape(5, (2, 5), 4)
    with_adapter, without = (_hidden(engine.runner, shape) for engine in (adapted, own))
    assert with_adapter[:5].equal(without[:5])
    assert not with_adapter[5:].allclose(without[5:])


def test_masks_leave_nothing_in_the_cache(base: Path, adapter: str) -> None:
    """A prompt that comes again finds the base model's keys and values, so its answer is the same."""
    engine = make_engine(base, adapter=adapter, predrafts="full", page_size=4)
    first = run(engine, [ask("a", prompts()[3], max_tokens=30, ignore_eos=True)])["a"].token_ids
    again = [ask("b", prompts()[3] + first[:-1], max_tokens=1, ignore_eos=True)]
    assert run(engine, again)["b"].token_ids == first[-1:]
    assert engine.stats().prefix_cache_hits > 0


def test_plain_decoding_does_not_ask_for_the_adapter(base: Path) -> None:
    assert make_engine(base, adapter="nowhere", decoding="ar").ready().decoding == "ar"


def test_an_adapter_for_a_model_that_drafts_is_refused(random_qwen3: Path, adapter: str) -> None:
    with pytest.raises(ModelError, match="drafts by itself"):
        make_engine(random_qwen3, adapter=adapter)


@pytest.mark.parametrize(
    ("settings", "flag"),
    [({"async_scheduling": True}, "--async-scheduling"), ({"tensor_parallel_size": 2}, "--tensor-parallel-size")],
)
def test_what_does_not_know_adapters_is_refused_with_one(
    base: Path, adapter: str, settings: dict[str, Any], flag: str
) -> None:
    with pytest.raises(EngineError, match=flag):
        make_engine(base, adapter=adapter, **settings)


@pytest.mark.parametrize("quantization", ["int8", "int4"])
def test_quantised_weights_say_the_same_with_the_adapter(base: Path, adapter: str, quantization: str) -> None:
    plain = make_engine(base, quantization=quantization, dtype="float32")
    expected = endings(run(plain, workload(10)))
    engine = make_engine(base, adapter=adapter, quantization=quantization, dtype="float32", predrafts="full")
    assert endings(run(engine, workload(10))) == expected


def _hidden(runner: Runner, shape: WindowShape) -> Tensor:
    """Hidden states of one window of this shape at the beginning of a sequence."""
    submit = Submit(request_id="probe", prompt_token_ids=[5, 6, 7, 8, 9], params=SamplingParams())
    sequence = Sequence(submit, seed=0, max_len=20, stop_token_ids=frozenset())
    sequence.pages = [1]
    return runner.forward([Window(sequence, [5, 6, 7, 8, 9], shape, range(0), decodes=True)])
