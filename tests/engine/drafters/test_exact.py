"""With drafts from anywhere the tokens are AR's: greedy and sampled, batched, cached, preempted, under grammars."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from engine.engine import Engine
from engine.errors import EngineError
from models.checkpoint import save_decoder
from models.config import ModelConfig
from tests.engine.drive import Done, acceptance, endings, make_engine, request, run
from tests.engine.tiny import CONTEXT, random_decoder, save_random, tiny_config
from tests.engine.workload import workload
from tests.models.eagle_heads import PlainHead, save_eagle

FEATURES = {"eagle_aux_hidden_state_layer_ids": [1, 1, 2]}


@pytest.fixture(scope="session")
def plain(learned: Path) -> dict[str, Done]:
    """Every request on its own, one token per forward, nothing cached."""
    return run(make_engine(learned, decoding="ar", max_num_seqs=1, enable_prefix_caching=False), workload(24))


@pytest.fixture(scope="session")
def methods(learned: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, Any]]:
    """Every drafter, as settings: the draft model is another one, so it is wrong as a rule."""
    folder = tmp_path_factory.mktemp("drafters")
    other = save_random(folder / "other", "LlamaForCausalLM", drafts=False)
    head = save_eagle(folder / "head", ModelConfig.from_folder(learned), 48, **FEATURES)
    return {
        "ngram": {"decoding": "ngram", "prompt_lookup_min": 1},
        "same model": {"decoding": "draft-model", "draft_model": str(learned)},
        "other model": {"decoding": "draft-model", "draft_model": str(other)},
        "eagle3": {"decoding": "eagle3", "draft_model": str(head)},
        "tree": {"decoding": "eagle3", "draft_model": str(head), "draft_width": 6, "draft_nodes": 20},
    }


def drafting(learned: Path, method: dict[str, Any], drafts: int = 3, **settings: Any) -> Engine:
    return make_engine(learned, draft_length=drafts + 1, **{"predrafts": "none", **method, **settings})


@pytest.mark.parametrize("name", ["ngram", "same model", "other model", "eagle3", "tree"])
@pytest.mark.parametrize(
    "settings",
    [
        {"drafts": 3},
        {"drafts": 1, "max_num_seqs": 1},
        {"drafts": 7, "max_num_batched_tokens": 40, "max_num_seqs": 7, "page_size": 4},
        {"drafts": 4, "page_size": 4, "num_pages": CONTEXT // 4 + 8},
        {"drafts": 4, "predrafts": "auto", "enable_prefix_caching": False},
    ],
    ids=["usual", "one draft", "small steps", "preempted", "auto"],
)
def test_every_drafter_says_what_ar_says(
    learned: Path, plain: dict[str, Done], methods: dict[str, dict[str, Any]], name: str, settings: dict[str, Any]
) -> None:
    engine = drafting(learned, methods[name], **settings)
    assert endings(run(engine, workload(24))) == endings(plain)
    if "num_pages" in settings:
        assert engine.stats().preemptions > 0


def test_a_draft_model_of_a_less_padded_vocabulary_drafts_what_it_can(
    learned: Path, plain: dict[str, Done], tmp_path: Path
) -> None:
    """Both have one tokenizer; ids from the target's padding, in prompts and answers, mean nothing to the other."""
    config = replace(tiny_config("LlamaForCausalLM", drafts=False), vocab_size=48)
    save_decoder(random_decoder(config), tmp_path / "small", torch.float64, {})
    shutil.copytree(learned, tmp_path / "target")
    for folder in ("small", "target"):
        vocabulary = {f"t{i}": i for i in range(48)}
        (tmp_path / folder / "tokenizer.json").write_text(json.dumps({"model": {"vocab": vocabulary}}))
    engine = drafting(tmp_path / "target", {"decoding": "draft-model", "draft_model": str(tmp_path / "small")})
    assert endings(run(engine, workload(24))) == endings(plain)


def test_a_draft_model_of_another_vocabulary_is_refused(learned: Path, tmp_path: Path) -> None:
    config = replace(tiny_config("LlamaForCausalLM", drafts=False), vocab_size=48)
    save_decoder(random_decoder(config), tmp_path, torch.float64, {})
    with pytest.raises(EngineError, match="another vocabulary"):
        drafting(learned, {"decoding": "draft-model", "draft_model": str(tmp_path)})


def test_trees_do_not_go_with_a_split_model(learned: Path, methods: dict[str, Any]) -> None:
    with pytest.raises(EngineError, match="--draft-width"):
        drafting(learned, methods["tree"], tensor_parallel_size=2)


def test_a_draft_model_that_is_the_model_itself_is_always_right(learned: Path, methods: dict[str, Any]) -> None:
    """Greedy or sampled: drafts are drawn with the noise of the tokens that judge them."""
    engine = drafting(learned, methods["same model"], drafts=3)
    requests = [
        request(str(i), [5 + i, 6, 7], max_tokens=33, ignore_eos=True, seed=i, temperature=i % 2) for i in range(6)
    ]
    run(engine, requests)
    stats = engine.stats()
    assert stats.accepted_per_position and sum(stats.accepted_per_position) == stats.draft_tokens
    assert acceptance(engine) > 3.5


def test_ngrams_pay_where_the_text_repeats_itself(learned: Path, methods: dict[str, Any]) -> None:
    engine = drafting(learned, methods["ngram"], drafts=4)
    run(engine, [request("counting", [*range(3, 64), 3, 4, 5], max_tokens=40, ignore_eos=True)])
    assert acceptance(engine) > 1.5


def test_a_branch_that_came_true_is_kept(learned: Path, methods: dict[str, Any]) -> None:
    """A wide tree has the right token in it where the chain is wrong, and more is accepted than a chain can give."""
    requests = [
        request(str(i), [5 + i, 9, 40], max_tokens=40, ignore_eos=True, seed=i, temperature=1) for i in range(4)
    ]
    chain, tree = drafting(learned, methods["eagle3"], 4), drafting(learned, methods["tree"], 4)
    assert endings(run(chain, requests)) == endings(run(tree, requests))
    assert acceptance(tree) > 1.05 * acceptance(chain)


class Watched:
    """The drafts that an engine had before each step, by how many tokens the sequence had."""

    def __init__(self) -> None:
        self.drafts: dict[int, list[int]] = {}
        self.tokens: list[int] = []

    def __call__(self, engine: Engine) -> None:
        for sequence in engine.scheduler.running:
            if sequence.decoding:
                self.drafts[len(sequence.tokens)] = list(sequence.drafts)
                self.tokens = list(sequence.tokens)


@pytest.mark.parametrize("budget", [5, 512])
def test_eagle_drafts_are_those_of_a_plain_reading(
    learned: Path, methods: dict[str, Any], budget: int, tmp_path: Path
) -> None:
    """Each step's drafts follow from the true hidden states of all positions before, whatever was drafted before."""
    head = load_file(Path(methods["eagle3"]["draft_model"]) / "model.safetensors")
    embedding = load_file(learned / "model.safetensors")["model.embed_tokens.weight"]
    watched = Watched()
    engine = drafting(learned, methods["eagle3"], drafts=3, max_num_batched_tokens=budget)
    prompt = [9, 10, 11, 40, 41, 3, 50]
    run(engine, [request("one", prompt, max_tokens=20, ignore_eos=True)], watched)
    plain_head = PlainHead(head, embedding)
    compared = 0
    for length, drafts in watched.drafts.items():
        hidden = features(learned, watched.tokens[: length - 1])
        assert drafts == plain_head.drafts(watched.tokens[:length], hidden, len(drafts))
        compared += len(drafts)
    assert compared > 30


def features(folder: Path, tokens: list[int]) -> list[torch.Tensor]:
    """The inputs of layers 1, 1 and 2 at every token, from a forward of the whole text without a cache."""
    from models.checkpoint import load_decoder
    from tests.models.test_eagle import causal

    seen: dict[int, torch.Tensor] = {}

    def tap(layer: int, hidden: torch.Tensor) -> None:
        seen[layer] = hidden.clone()

    decoder = load_decoder(folder, torch.float64)
    decoder(torch.tensor(tokens), torch.arange(len(tokens)), causal, tap)
    return [seen[0], seen[0], seen[1]]
