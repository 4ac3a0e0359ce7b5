"""The tokenizer of a GGUF file's metadata, built with the tokenizers library."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import tokenizers
from tokenizers import AddedToken, Regex, decoders, models, normalizers, pre_tokenizers, processors
from tokenizers.pre_tokenizers import PreTokenizer

from models.errors import ModelError
from models.gguf.header import read_header

#: tokenizer.ggml.token_type
NORMAL, UNKNOWN, CONTROL, USER_DEFINED, UNUSED, BYTE = range(1, 7)

CONTRACTION = "(?i:'s|'t|'re|'ve|'m|'ll|'d)"
WORD, SPACES = r"[^\r\n\p{L}\p{N}]?\p{L}+", r"\s*[\r\n]+|\s+(?!\S)|\s+"
UPPER, LOWER = r"[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]", r"[\p{Ll}\p{Lm}\p{Lo}\p{M}]"
LLAMA3 = rf"{CONTRACTION}|{WORD}|\p{{N}}{{1,3}}| ?[^\s\p{{L}}\p{{N}}]+[\r\n]*|{SPACES}"
QWEN2 = rf"{CONTRACTION}|{WORD}|\p{{N}}| ?[^\s\p{{L}}\p{{N}}]+[\r\n]*|{SPACES}"
TEKKEN = (
    rf"[^\r\n\p{{L}}\p{{N}}]?{UPPER}*{LOWER}+|[^\r\n\p{{L}}\p{{N}}]?{UPPER}+{LOWER}*|\p{{N}}"
    rf"| ?[^\s\p{{L}}\p{{N}}]+[\r\n/]*|{SPACES}"
)
#: how a text is cut before merging, by tokenizer.ggml.pre; the patterns are those of the models' own tokenizer.json
SPLITS = {
    **dict.fromkeys(("llama-bpe", "llama3", "llama-v3", "dbrx", "smaug-bpe", "falcon3"), LLAMA3),
    **dict.fromkeys(("qwen2", "deepseek-r1-qwen", "stablelm2"), QWEN2),
    "tekken": TEKKEN,
}
#: GPT-2's own cut, and the same with every digit alone
GPT2 = ("default", "gpt-2", "gpt2", "olmo", "mpt")
DIGITS = ("smollm", "starcoder", "refact", "command-r", "codeshell")
#: words that are tokens as they stand are not merged anew, and a text begins with the BOS token unless the file denies
WHOLE_WORDS = ("llama-bpe", "llama3", "llama-v3", "falcon3", "tekken")

ROLES = {"bos": "bos_token", "eos": "eos_token", "unknown": "unk_token", "padding": "pad_token", "mask": "mask_token"}


def fast_tokenizer(path: Path) -> tokenizers.Tokenizer:
    """Raises ModelError, one sentence, where the metadata make no tokenizer."""
    metadata = read_header(path).metadata
    kind = metadata.get("tokenizer.ggml.model")
    if kind not in ("gpt2", "llama"):
        raise ModelError(f"{path} has a tokenizer of kind {kind!r}; read are 'gpt2' (BPE) and 'llama' (SentencePiece).")
    tokens = _texts(path, metadata, "tokenizer.ggml.tokens")
    types = metadata.get("tokenizer.ggml.token_type") or [NORMAL] * len(tokens)
    if not isinstance(types, list) or len(types) != len(tokens):
        raise ModelError(f"{path} has {len(tokens)} tokens, but not as many entries of tokenizer.ggml.token_type.")
    vocabulary = {token: index for index, token in enumerate(tokens) if types[index] != UNUSED}
    if len(vocabulary) != sum(type_ != UNUSED for type_ in types):
        raise ModelError(f"{path} has a token twice in tokenizer.ggml.tokens.")
    try:
        fast = (_byte_level if kind == "gpt2" else _sentencepiece)(path, metadata, vocabulary, types)
        for index, token in enumerate(tokens):
            if types[index] in (CONTROL, UNKNOWN):
                fast.add_special_tokens([AddedToken(token, normalized=False, special=True)])
            elif types[index] == USER_DEFINED:
                fast.add_tokens([AddedToken(token, normalized=False)])
        _frame(fast, tokens, metadata, kind == "llama" or metadata.get("tokenizer.ggml.pre") in WHOLE_WORDS)
    except ModelError:
        raise
    except Exception as error:  # the library raises nothing narrower
        raise ModelError(f"The tokenizer of {path} cannot be built ({' '.join(str(error).split())}).") from None
    return fast


def special_tokens(path: Path) -> dict[str, str]:
    """Text by role, such as bos_token."""
    metadata = read_header(path).metadata
    tokens = _texts(path, metadata, "tokenizer.ggml.tokens")
    found = {}
    for theirs, role in ROLES.items():
        index = metadata.get(f"tokenizer.ggml.{theirs}_token_id")
        if isinstance(index, int) and 0 <= index < len(tokens):
            found[role] = tokens[index]
    return found


def chat_template(path: Path, name: str = "default") -> str | None:
    """The template's text; one of another name than the default is for special uses, such as tool_use."""
    key = "tokenizer.chat_template" + ("" if name == "default" else f".{name}")
    given = read_header(path).metadata.get(key)
    if given is not None and not isinstance(given, str):
        raise ModelError(f"{path} has no text for {key}.")
    return given


def _byte_level(
    path: Path, metadata: dict[str, Any], vocabulary: dict[str, int], types: list[int]
) -> tokenizers.Tokenizer:
    """GPT-2's scheme: bytes as printable characters, merged in the order that the file lists."""
    pre = metadata.get("tokenizer.ggml.pre", "default")
    merges = [tuple(merge.split(" ")) for merge in _texts(path, metadata, "tokenizer.ggml.merges")]
    if not all(len(merge) == 2 for merge in merges):
        raise ModelError(f"{path} has an entry of tokenizer.ggml.merges that is no pair.")
    fast = tokenizers.Tokenizer(models.BPE(vocabulary, merges, ignore_merges=pre in WHOLE_WORDS))  # type: ignore[arg-type]
    fast.pre_tokenizer = _cut(path, pre)
    fast.decoder = decoders.ByteLevel()
    if pre in ("qwen2", "deepseek-r1-qwen"):
        fast.normalizer = normalizers.NFC()
    return fast


def _cut(path: Path, pre: str) -> PreTokenizer:
    if pre in SPLITS:
        split = pre_tokenizers.Split(Regex(SPLITS[pre]), "isolated")
        return pre_tokenizers.Sequence([split, pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])
    level = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)
    if pre in DIGITS:
        return pre_tokenizers.Sequence([pre_tokenizers.Digits(individual_digits=True), level])
    if pre in GPT2:
        return level
    known = ", ".join([*SPLITS, *DIGITS, *GPT2])
    raise ModelError(f"{path} cuts texts by the rule {pre!r}, and only these are known: {known}.")


def _sentencepiece(
    path: Path, metadata: dict[str, Any], vocabulary: dict[str, int], types: list[int]
) -> tokenizers.Tokenizer:
    """Llama 2's scheme: ▁ for a space, and of the neighbours that make a token, those of the best score first."""
    scores = metadata.get("tokenizer.ggml.scores")
    if not isinstance(scores, list) or len(scores) != len(types):
        raise ModelError(f"{path} has {len(types)} tokens, but not as many entries of tokenizer.ggml.scores.")
    normal = {token: index for token, index in vocabulary.items() if types[index] == NORMAL}
    unknown = next((token for token, index in vocabulary.items() if types[index] == UNKNOWN), None)
    model = models.BPE(vocabulary, _merges(normal, scores), unk_token=unknown, fuse_unk=True, byte_fallback=True)
    fast = tokenizers.Tokenizer(model)
    spaces = [normalizers.Replace(" ", "▁")]
    leading = metadata.get("tokenizer.ggml.add_space_prefix", True)
    fast.normalizer = normalizers.Sequence([*([normalizers.Prepend("▁")] if leading else []), *spaces])
    steps = [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()]
    fast.decoder = decoders.Sequence([*steps, *([decoders.Strip(" ", 1, 0)] if leading else [])])
    return fast


#: characters of a token that is looked for two parts; in a file that means well none is as long
LONGEST_TOKEN = 1024


def _merges(vocabulary: dict[str, int], scores: list[float]) -> list[tuple[str, str]]:
    """Every way in which two tokens make a third, the third of the best score first."""
    found = []
    for token, index in vocabulary.items():
        for cut in range(1, len(token) if len(token) <= LONGEST_TOKEN else 0):
            left, right = vocabulary.get(token[:cut]), vocabulary.get(token[cut:])
            if left is not None and right is not None:
                found.append((-scores[index], left, right, token[:cut], token[cut:]))
    found.sort(key=lambda merge: merge[:3])
    return [(left, right) for *_, left, right in found]


def _frame(fast: tokenizers.Tokenizer, tokens: list[str], metadata: dict[str, Any], begins: bool) -> None:
    """BOS before a text and EOS after it, where the file or else the kind of tokenizer asks for them."""
    template, pairs = ["$A"], []
    for role, wanted in (("bos", begins), ("eos", False)):
        index = metadata.get(f"tokenizer.ggml.{role}_token_id")
        if not metadata.get(f"tokenizer.ggml.add_{role}_token", wanted) or not isinstance(index, int):
            continue
        if not 0 <= index < len(tokens):
            raise ModelError(f"The {role} token {index} lies outside the vocabulary of {len(tokens)} tokens.")
        pairs.append((tokens[index], index))
        template = [tokens[index], *template] if role == "bos" else [*template, tokens[index]]
    if pairs:
        fast.post_processor = processors.TemplateProcessing(single=template, special_tokens=pairs)


def _texts(path: Path, metadata: dict[str, Any], key: str) -> list[str]:
    given = metadata.get(key)
    if not isinstance(given, list) or not given or not isinstance(given[0], str):
        raise ModelError(f"{path} has no list of texts for {key}.")
    return given
