"""SDLM, I-DLM and linear self-speculation: each step is the reference's, and the tokens are those of plain AR."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from engine.errors import EngineError
from models.checkpoint import load_decoder, save_decoder
from models.drafting import DraftConfig
from models.rope import Rope
from tests.engine.drive import Done, acceptance, endings, make_engine, request, run
from tests.engine.reference import Reference
from tests.engine.scheme_references import CopyReference, StrideReference
from tests.engine.test_reference import LENGTH, SAMPLING, as_far_as_wanted, observed_steps
from tests.engine.tiny import CONTEXT, MASK, random_decoder, tiny_config
from tests.engine.tiny_schemes import SCHEMES, save_learned_scheme
from tests.engine.workload import prompts, workload

MakeReference = Callable[..., Reference]

REFERENCES: dict[str, MakeReference] = {
    "sdlm": lambda *given: CopyReference(*given, shift=1),
    "linear": lambda *given: CopyReference(*given, shift=0),
    "idlm": StrideReference,
}
every_scheme = pytest.mark.parametrize("scheme", SCHEMES)
#: requests of the workload that the schemes are compared on
COUNT = 15


@pytest.fixture(scope="session")
def learnt(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("schemes")
    return {name: save_learned_scheme(folder / name, name) for name in SCHEMES}


@pytest.fixture(scope="session")
def plain(learnt: dict[str, Path]) -> dict[str, dict[str, Done]]:
    """Every request on its own, one token per forward."""
    settings: dict[str, Any] = {"decoding": "ar", "max_num_seqs": 1, "enable_prefix_caching": False}
    return {name: run(make_engine(folder, **settings), workload(COUNT)) for name, folder in learnt.items()}


@pytest.mark.parametrize("sampling", SAMPLING)
@pytest.mark.parametrize(("k", "predrafts"), [(2, "full"), (4, "full"), (8, "none"), (4, "none")])
@every_scheme
def test_every_step_is_the_references_step(
    learnt: dict[str, Path], scheme: str, k: int, predrafts: str, sampling: str
) -> None:
    decoder = load_decoder(learnt[scheme], torch.float64)
    groups = tuple(range(1, k + 1)) if predrafts == "full" else ()
    lengths = set()
    for index, prompt in enumerate(prompts(4, longest=20, seed=k)):
        asked = request(f"{index}", prompt, max_tokens=LENGTH, ignore_eos=True, **SAMPLING[sampling])
        engine = make_engine(learnt[scheme], decoding=scheme, draft_length=k, predrafts=predrafts, page_size=4)
        expected = REFERENCES[scheme](decoder, MASK, asked, asked.params.seed or 0, k, groups).steps(LENGTH)
        assert observed_steps(engine, asked) == as_far_as_wanted(expected, k)
        lengths |= {step.accepted for step in expected[1:]}
    assert min(lengths) == 1 and max(lengths) > k // 2, "the prompts hardly ever had a draft accepted"


@pytest.mark.parametrize(
    "settings",
    [
        {"predrafts": "full"},
        {"predrafts": "none", "max_num_seqs": 3, "page_size": 1},
        {"predrafts": "2", "max_num_batched_tokens": 13, "max_num_seqs": 7, "page_size": 4},
        {"predrafts": "auto", "draft_length": 8},
    ],
)
@every_scheme
def test_batched_and_chunked_it_says_what_ar_says(
    learnt: dict[str, Path], plain: dict[str, dict[str, Done]], scheme: str, settings: dict[str, Any]
) -> None:
    """Greedy, seeded and with every sampling setting, side by side in one batch."""
    engine = make_engine(learnt[scheme], decoding="auto", **settings)
    assert engine.ready().decoding == scheme
    assert endings(run(engine, workload(COUNT))) == endings(plain[scheme])
    if settings["predrafts"] == "full":
        assert acceptance(engine) > 1.1


@every_scheme
def test_a_preempted_stream_does_not_notice(
    learnt: dict[str, Path], plain: dict[str, dict[str, Done]], scheme: str
) -> None:
    engine = make_engine(learnt[scheme], predrafts="full", page_size=4, num_pages=CONTEXT // 4 + 8)
    assert endings(run(engine, workload(COUNT))) == endings(plain[scheme])
    assert engine.stats().preemptions > 3
    assert acceptance(engine) > 1.1


@every_scheme
def test_random_weights_whose_drafts_are_mostly_wrong_are_exact_too(tmp_path: Path, scheme: str) -> None:
    config = replace(tiny_config(), draft=DraftConfig(MASK, 4, scheme, SCHEMES[scheme].shift))
    save_decoder(random_decoder(config), tmp_path, torch.float64, {})
    expected = endings(run(make_engine(tmp_path, decoding="ar"), workload(12)))
    assert endings(run(make_engine(tmp_path, predrafts="full"), workload(12))) == expected


def test_a_stride_never_carries_more_rows_than_its_window_of_2k_less_one(learnt: dict[str, Path]) -> None:
    engine = make_engine(learnt["idlm"], draft_length=4)
    engine.submit(request("x", [10, 11, 12], max_tokens=40, ignore_eos=True, temperature=1.0, seed=1))
    rows = set()
    while engine.has_work:
        engine.step()
        rows.add(engine.recorder.last_rows)
    assert max(rows) == 7 and {4, 7} <= rows


@pytest.mark.parametrize("decoding", ["linear", "tidar", "ar"])
def test_queries_that_grow_with_their_position_are_scaled_in_every_row(tmp_path: Path, decoding: str) -> None:
    """Nemotron-Labs-Diffusion past its original context: drafts and groups stand at other positions than their rows."""
    rope = Rope("yarn", 1e6, 4.0, original_max_position_embeddings=16, mscale=1.0, mscale_all_dim=1.0, query_beta=0.1)
    config = replace(
        tiny_config("LlamaForCausalLM"),
        architecture="NemotronLabsDiffusionModel",
        rope=rope,
        draft=DraftConfig(MASK, 4, "linear"),
    )
    save_decoder(random_decoder(config), tmp_path, torch.float64, {})
    decoder = load_decoder(tmp_path, torch.float64)
    assert decoder.query_scales is not None and decoder.query_scales[-1] > 1.2
    for index, prompt in enumerate(prompts(3, longest=30)):
        asked = request(f"{index}", prompt, max_tokens=LENGTH, ignore_eos=True)
        expected = Reference(decoder, MASK, asked, 0, 1, ()).steps(LENGTH)
        done = run(make_engine(tmp_path, decoding=decoding, predrafts="full"), [asked])
        assert done[f"{index}"].token_ids == [token for step in expected for token in step.tokens][:LENGTH]


@pytest.mark.parametrize(("scheme", "other"), [("sdlm", "idlm"), ("idlm", "tidar"), ("sdlm", "tidar")])
def test_a_scheme_that_the_weights_were_not_trained_for_is_refused(
    learnt: dict[str, Path], scheme: str, other: str
) -> None:
    with pytest.raises(EngineError, match=f"--decoding {other}"):
        make_engine(learnt[scheme], decoding=other)
