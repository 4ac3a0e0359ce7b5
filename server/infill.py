"""Fill in the middle: a prompt and a suffix as models that were trained for it read them."""

from __future__ import annotations

from dataclasses import dataclass

from models.tokenizer import Tokenizer
from server.errors import bad_request


@dataclass(frozen=True)
class InfillFormat:
    """The tokens around the two texts; with `suffix_first` the suffix is written before the prompt."""

    prefix: str
    suffix: str
    middle: str = ""
    suffix_first: bool = False


#: one line per family; a tokenizer that has all tokens of a line reads it
FORMATS = (
    InfillFormat("<|fim_prefix|>", "<|fim_suffix|>", "<|fim_middle|>"),  # Qwen 2.5 and 3 Coder, CodeGemma
    InfillFormat("<fim_prefix>", "<fim_suffix>", "<fim_middle>"),  # StarCoder, Granite, Stable Code
    InfillFormat("<fim-prefix>", "<fim-suffix>", "<fim-middle>"),  # SantaCoder
    InfillFormat("<｜fim▁begin｜>", "<｜fim▁hole｜>", "<｜fim▁end｜>"),  # DeepSeek Coder
    InfillFormat("▁<PRE>", "▁<SUF>", "▁<MID>"),  # Code Llama
    InfillFormat("<|code_prefix|>", "<|code_suffix|>", "<|code_middle|>"),  # GLM, CodeGeeX
    InfillFormat("[PREFIX]", "[SUFFIX]", suffix_first=True),  # Codestral
)


def infill_prompt(prompt: list[int], suffix: list[int], start: list[int], tokenizer: Tokenizer) -> list[int]:
    """Token ids that ask for what stands between `prompt` and `suffix`; `start` are the ids every text begins with.

    Raises a 400 where the model's vocabulary has no tokens for it.
    """
    for form in FORMATS:
        before, behind = tokenizer.token_id(form.prefix), tokenizer.token_id(form.suffix)
        middle = [tokenizer.token_id(form.middle)] if form.middle else []
        ids = [before, behind, *middle]
        marks = [token for token in ids if token is not None]
        if len(marks) < len(ids):
            continue
        head, tail = [marks[0], *prompt], [marks[1], *suffix]
        return start + (tail + head if form.suffix_first else head + tail) + marks[2:]
    raise bad_request("suffix needs a model trained to fill in the middle, which this one is not.", "suffix")
