"""How far rounding takes the logits of a prompt from those of wider floats: ours and those of transformers."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from bench.gpu.figures import Fidelity
from bench.gpu.peer import random_peer
from bench.gpu.rig import PAGE
from bench.gpu.shapes import random_decoder
from engine.attention.choice import choose_kernels, make_attention
from engine.batch import lay_out
from engine.cache.storage import KVStorage
from engine.messages import Submit
from engine.params import SamplingParams
from engine.sequence import Sequence
from engine.window import Window, WindowShape
from models.config import ModelConfig
from models.decoder import Decoder
from models.inference import prepare_for_inference
from models.layout import places

TOKENS = 256


@torch.inference_mode()
def measure_fidelity(name: str, config: ModelConfig, device: torch.device, dtype: torch.dtype) -> Fidelity:
    """||logits - reference|| / ||reference|| of both, teacher-forced on random tokens; the reference is wider."""
    wide = torch.float64 if dtype == torch.float32 else torch.float32
    tokens = torch.randint(0, config.vocab_size, (TOKENS,), device=device)
    peer = random_peer(config, device, dtype)
    weights = peer.state_dict()
    ours, theirs = _own_logits(config, device, weights, dtype, tokens), peer(tokens[None]).logits[0]
    reference = random_peer(config, device, wide)
    reference.load_state_dict(weights)
    expected = reference(tokens[None]).logits[0]
    return Fidelity(name, _error(ours, expected), _error(theirs, expected))


def _own_logits(
    config: ModelConfig, device: torch.device, weights: dict[str, Any], dtype: torch.dtype, tokens: Tensor
) -> Tensor:
    """Through the engine's attention, as one prompt chunk."""
    decoder = _decoder(config, device, weights, dtype)
    kernels = choose_kernels("auto", device, dtype)
    prepare_for_inference(decoder, kernels)
    pages = -(-TOKENS // PAGE)
    storage = KVStorage(config, pages, PAGE, PAGE, dtype, device)
    submit = Submit(request_id="prompt", prompt_token_ids=tokens.tolist(), params=SamplingParams())
    sequence = Sequence(submit, 0, TOKENS + 1, frozenset())
    sequence.pages = list(range(1, pages + 1))
    window = Window(sequence, sequence.tokens, WindowShape(TOKENS), range(0), decodes=False)
    batch = lay_out([window], [window.tokens], storage, config.max_position_embeddings)
    attention = make_attention(kernels, storage).prepare(batch)
    return decoder.logits(decoder(batch.token_ids, batch.positions, attention))


def _decoder(config: ModelConfig, device: torch.device, weights: dict[str, Any], dtype: torch.dtype) -> Decoder:
    decoder = random_decoder(config, dtype, device)
    parameters = dict(decoder.named_parameters())
    for place in places(config):
        place.view(parameters[place.parameter]).copy_(weights[place.name])
    return decoder


def _error(logits: Tensor, reference: Tensor) -> float:
    return float((logits.to(reference.dtype) - reference).norm() / reference.norm())
