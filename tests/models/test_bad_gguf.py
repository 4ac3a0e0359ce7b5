"""Every way a GGUF file can be no use is one sentence that names the culprit, and costs nothing first."""

from __future__ import annotations

import re
import resource
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from models.checkpoint import load_decoder
from models.errors import ModelError
from models.gguf.header import read_header
from models.tokenizer import Tokenizer
from tests.models.checkpoints import FAMILIES, random_model
from tests.models.gguf_files import write_gguf

UP = "blk.1.ffn_up.weight"


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    path = tmp_path_factory.mktemp("gguf") / "m.gguf"
    return write_gguf(path, random_model(FAMILIES["llama"]())).read_bytes()


def refusal(path: Path) -> str:
    """The message of the error that loading raises, which must be one sentence."""
    with pytest.raises(ModelError) as caught:
        load_decoder(path, torch.float32)
    message = str(caught.value)
    assert message.endswith(".")
    assert not re.search(r"[.!?]\s|\n", message), message
    return message


def text(value: bytes) -> bytes:
    return struct.pack("<Q", len(value)) + value


def pair(key: bytes, kind: int, value: bytes) -> bytes:
    return text(key) + struct.pack("<I", kind) + value


def array(kind: int, length: int, value: bytes = b"") -> bytes:
    return struct.pack("<IQ", kind, length) + value


def tensor(name: bytes, shape: tuple[int, ...], kind: int = 0, offset: int = 0) -> bytes:
    described = struct.pack(f"<I{len(shape)}QIQ", len(shape), *shape, kind, offset)
    return text(name) + described


def file(*pairs: bytes, tensors: tuple[bytes, ...] = (), version: int = 3, counts: Any = None) -> bytes:
    count = counts or (len(tensors), len(pairs))
    return b"GGUF" + struct.pack("<IQQ", version, *count) + b"".join(pairs) + b"".join(tensors) + bytes(64)


LLAMA = pair(b"general.architecture", 8, text(b"llama"))
HUGE = 2**60

DAMAGE: dict[str, tuple[Callable[[bytes], bytes], str]] = {
    "empty": (lambda data: b"", "has 0 bytes"),
    "no magic": (lambda data: b"GGML" + data[4:], "does not begin with GGUF"),
    "a zip": (lambda data: b"PK\x03\x04" + data[4:], "does not begin with GGUF"),
    "a pickle": (lambda data: b"\x80\x04\x95" + data[3:], "does not begin with GGUF"),
    "big-endian": (lambda data: data[:4] + struct.pack(">I", 3) + data[8:], "big-endian"),
    "version 9": (lambda data: data[:4] + struct.pack("<I", 9) + data[8:], "its version is 9"),
    "ends in the header": (lambda data: data[:300], "may be truncated"),
    "ends in the counts": (lambda data: data[:20], "has 20 bytes"),
    "half": (lambda data: data[: len(data) // 2], "may be truncated"),
    "one tensor short": (lambda data: data[:-400], "may be truncated"),
    "many tensors": (lambda data: file(LLAMA, counts=(HUGE, 1)), f"claims {HUGE} tensors"),
    "many entries": (lambda data: file(LLAMA, counts=(0, HUGE)), f"and {HUGE} metadata entries"),
    "a long text": (lambda data: file(struct.pack("<Q", HUGE)), "claims a text"),
    "a long array": (lambda data: file(pair(b"a", 9, array(7, HUGE))), "claims 1152921504606846976 elements"),
    "an array beyond the end": (lambda data: file(pair(b"a", 9, array(4, 2**20))), "ends inside its header"),
    "an array of arrays": (lambda data: file(pair(b"a", 9, array(9, 1, array(4, 0)))), "array of unknown type 9"),
    "an unknown type": (lambda data: file(pair(b"a", 99, b"")), "unknown type 99"),
    "an entry twice": (lambda data: file(LLAMA, LLAMA), "two entries 'general.architecture'"),
    "a tensor twice": (lambda data: file(tensors=(tensor(b"a", (2,)),) * 2), "two tensors 'a'"),
    "too many dimensions": (lambda data: file(tensors=(tensor(b"a", (1,) * 5),)), "5 dimensions"),
    "no dimension": (lambda data: file(tensors=(tensor(b"a", ()),)), "0 dimensions"),
    "an absurd shape": (lambda data: file(tensors=(tensor(b"a", (2**40, 2**40)),)), "shape [1099511627776, "),
    "nothing in it": (lambda data: file(tensors=(tensor(b"a", (0, 5)),)), "shape [5, 0]"),
    "a shape that wraps": (lambda data: file(tensors=(tensor(b"a", (2**32, 2**32)),)), "would end at byte"),
    "half a block": (lambda data: file(tensors=(tensor(b"a", (33, 1), 2),)), "rows of 33"),
    "beyond the end": (lambda data: file(tensors=(tensor(b"a", (2,), 0, 2**40),)), "would end at byte"),
    "between the lines": (lambda data: file(tensors=(tensor(b"a", (2,), 0, 4),)), "is not aligned"),
    "an alignment of 0": (lambda data: file(pair(b"general.alignment", 4, bytes(4))), "its alignment is 0"),
    "no architecture": (lambda data: file(), "of architecture None"),
    "another architecture": (
        lambda data: file(pair(b"general.architecture", 8, text(b"mamba"))),
        "of architecture 'mamba'",
    ),
    "an architecture that is a list": (
        lambda data: file(pair(b"general.architecture", 9, array(4, 1, bytes(4)))),
        "of architecture [0]",
    ),
    "no sizes": (lambda data: file(LLAMA), "llama.block_count"),
}


@pytest.mark.parametrize(("damage", "told"), DAMAGE.values(), ids=DAMAGE)
def test_damaged_files(tmp_path: Path, good: bytes, damage: Callable[[bytes], bytes], told: str) -> None:
    path = tmp_path / "m.gguf"
    path.write_bytes(damage(good))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    assert told in refusal(path)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 200_000, "memory was taken for nothing"


@pytest.mark.parametrize(
    ("metadata", "tensors", "told"),
    [
        ({"llama.block_count": 4}, {}, "model.layers.3.input_layernorm.weight"),
        ({"llama.block_count": 2}, {}, "model.layers.2."),
        ({"llama.block_count": 2**31 - 1}, {}, "model.layers.3."),
        ({"llama.feed_forward_length": 2**31 - 1}, {}, "2147483647"),
        ({"llama.block_count": "3"}, {}, "llama.block_count"),
        ({"llama.attention.head_count": [6, 6, 6]}, {}, "llama.attention.head_count"),
        ({"llama.attention.head_count": 5}, {}, "5 query heads"),
        ({"llama.rope.dimension_count": 4}, {}, "llama.rope.dimension_count"),
        ({"llama.rope.freq_base": "fast"}, {}, "llama.rope.freq_base"),
        ({"llama.rope.scaling.type": "longrope"}, {}, "longrope"),
        ({"split.count": 3}, {}, "one part of a split model"),
        ({}, {UP: np.zeros((48, 80), np.float32)}, "model.layers.1.mlp.up_proj.weight has shape [48, 80]"),
        ({}, {"blk.0.ffn_gate_exps.weight": np.zeros((4, 4), np.float32)}, "blk.0.ffn_gate_exps.weight"),
        ({}, {"rope_freqs.weight": np.zeros(4, np.float32)}, "divide nothing"),
    ],
)
def test_files_that_do_not_fit_themselves(
    tmp_path: Path, metadata: dict[str, Any], tensors: dict[str, Any], told: str
) -> None:
    model = random_model(FAMILIES["llama"]())
    assert told in refusal(write_gguf(tmp_path / "m.gguf", model, metadata=metadata, tensors=tensors))


def test_a_format_that_is_not_read_is_named(tmp_path: Path) -> None:
    data = file(LLAMA, *SIZES_OF_ONE, tensors=(tensor(b"token_embd.weight", (8, 4), 29),))
    (tmp_path / "m.gguf").write_bytes(data)
    assert "keeps model.embed_tokens.weight in format 29; read are F32" in refusal(tmp_path / "m.gguf")


SIZES_OF_ONE = [
    pair(f"llama.{key}".encode(), 4, struct.pack("<I", 8))
    for key in ("block_count", "context_length", "embedding_length", "feed_forward_length")
] + [pair(b"llama.attention.head_count", 4, struct.pack("<I", 1))]


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_a_header_with_any_bytes_changed_is_read_or_refused(tmp_path: Path, good: bytes, data: st.DataObject) -> None:
    changed = bytearray(good[:3000])
    for _ in range(data.draw(st.integers(1, 4))):
        changed[data.draw(st.integers(4, len(changed) - 1))] = data.draw(st.integers(0, 255))
    path = tmp_path / "m.gguf"
    path.write_bytes(bytes(changed) + good[3000:])
    try:
        header = read_header(path)
        assert len(header.tensors) < 100
        load_decoder(path, torch.float32)
    except ModelError as error:
        assert "\n" not in str(error)
    try:
        Tokenizer.from_folder(path)
    except ModelError as error:
        assert "\n" not in str(error)
