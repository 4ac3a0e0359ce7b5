"""SmolLM2 as `tidar pull smollm2` leaves it, served with the shipped adapter: the same chats in fewer forwards."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.e2e.smollm2 import smollm2
from tests.server.live import ROOT, LiveServer

__all__ = ["smollm2"]

ADAPTER = ROOT / "models" / "shipped" / "smollm2-tidar-adapter"
TOKENS = 24
QUESTIONS = [
    "What is the capital of France?",
    "Why is the sky blue?",
    "Name three fruits and their colours.",
    "Who wrote Romeo and Juliet?",
    "How do bees make honey?",
    "Explain gravity to a child.",
    "What is 12 times 9?",
    "Write a haiku about the sea.",
    "Write a Python function that reverses a string.",
    "Give me a recipe for pancakes.",
    "What does a computer's memory do?",
    "List the planets of the solar system.",
    "Translate 'good morning' into Spanish.",
    "Tom has 5 apples and buys 7 more. He eats 3. How many are left?",
    "A train travels 60 km in 45 minutes. What is its speed in km/h?",
    "Anna reads 12 pages a day. How many pages does she read in 3 weeks?",
    "A shirt costs $25 and is sold at 20% off. What is the price?",
    "There are 4 boxes with 15 pencils each. How many pencils are there in all?",
    "Write a short letter to thank a friend.",
    "What should I do before a job interview?",
]


@pytest.mark.slow
def test_twenty_chats_are_the_base_models(smollm2: Path) -> None:
    plain, alone = answers(smollm2, "--decoding", "ar")
    drafted, together = answers(smollm2, "--adapter", str(ADAPTER), "--predrafts", "2")
    assert drafted == plain
    assert alone == 1.0
    assert together > 1.3


def answers(model: Path, *flags: str) -> tuple[list[str], float]:
    """Each chat's answer, and the tokens per forward of all."""
    flags = ("--dtype", "float32", "--threads", "2", "--max-model-len", "512", *flags)
    with LiveServer(model, *flags) as server, ThreadPoolExecutor(len(QUESTIONS)) as pool:
        server.client.timeout = 600

        def ask(question: str) -> str:
            messages = [{"role": "user", "content": question}]
            answer = server.chat(model=model.stem, messages=messages, max_tokens=TOKENS, temperature=0)
            return str(answer["choices"][0]["message"]["content"])

        said = list(pool.map(ask, QUESTIONS))
        return said, server.metrics()["tidar:tokens_per_forward"]
