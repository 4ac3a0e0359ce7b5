"""Loading a model takes little more memory than the model: the peak of a process of its own is measured."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import torch
from transformers import LlamaConfig

from tests.models.checkpoints import random_model
from tests.models.gguf_files import write_gguf

ROOT = Path(__file__).parents[2]
#: a few hundred MiB in float32, most of it in matrices, as in larger models
SIZES = {"hidden_size": 1024, "intermediate_size": 4096, "num_hidden_layers": 4, "vocab_size": 8192}
HEADS = {"num_attention_heads": 16, "num_key_value_heads": 4, "max_position_embeddings": 256}

PEAK = """
import resource, sys
from pathlib import Path
import torch
from models.checkpoint import load_decoder
from gguf.quants import dequantize
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
decoder = load_decoder(Path(sys.argv[1]), getattr(torch, sys.argv[2]))
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
print(peak * 1024 / sum(p.numel() * p.element_size() for p in decoder.parameters()))
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One model as a float32 folder in shards, as a bfloat16 folder in one file, and as GGUF files."""
    folder = tmp_path_factory.mktemp("large")
    model = random_model(LlamaConfig(**SIZES, **HEADS))
    model.save_pretrained(folder / "shards", max_shard_size="60MB")
    for kind in ("F16", "Q8_0"):
        write_gguf(folder / f"{kind}.gguf", model, kind)
    model.to(torch.bfloat16).save_pretrained(folder / "single")
    return folder


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="ru_maxrss counts KiB on Linux")
@pytest.mark.parametrize(
    ("name", "dtype"),
    [
        ("shards", "float32"),
        ("shards", "bfloat16"),
        ("single", "bfloat16"),
        ("single", "float32"),
        ("F16.gguf", "float16"),
        ("Q8_0.gguf", "float32"),
    ],
)
def test_the_peak_stays_near_the_model(folder: Path, name: str, dtype: str) -> None:
    command = [sys.executable, "-c", PEAK, str(folder / name), dtype]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert float(done.stdout) < 1.2, f"the peak is {float(done.stdout):.2f} times the model"
