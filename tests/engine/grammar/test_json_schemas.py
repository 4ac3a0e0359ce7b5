"""Whatever the schema and the model, what comes out under a JSON schema parses and validates."""

from __future__ import annotations

import dataclasses
import json
import random
import re
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import torch

from engine.messages import Submit
from engine.params import Grammar
from models.checkpoint import save_decoder
from models.tokenizer import Tokenizer
from tests.engine.drive import Done, make_engine, request, run
from tests.engine.grammar.schemas import root_schema
from tests.engine.grammar.tiny_tokens import with_tokenizer
from tests.engine.tiny import FIRST, VOCAB, random_decoder, tiny_config

SHIPPED = Path(__file__).parents[3] / "models" / "shipped" / "tidar-python-5m"
FORMATS = jsonschema.FormatChecker(["date", "ipv4", "uuid"])
RUNS = 220


@FORMATS.checks("date")
def _is_date(value: object) -> bool:
    """RFC 3339's full-date by its digits: the grammar knows neither leap years nor that no calendar has a year 0."""
    return re.fullmatch(r"\d{4}-(0[1-9]|1[0-2])-(0[1-9]|[12]\d|3[01])", str(value)) is not None


@pytest.fixture(scope="module")
def long_babbler(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Random weights with a context that holds any of the answers."""
    folder = tmp_path_factory.mktemp("schemas")
    config = dataclasses.replace(tiny_config(), max_position_embeddings=2048)
    save_decoder(random_decoder(config), folder / "plain", torch.float64, {})
    return with_tokenizer(folder / "plain", folder / "model")


def asked(count: int, vocab: int, temperature: float) -> tuple[list[Submit], list[dict[str, Any]]]:
    rng = random.Random(7)
    schemas = [root_schema(rng) for _ in range(count)]
    requests = [
        request(
            f"{index}",
            [rng.randrange(FIRST + 1, vocab) for _ in range(6)],
            grammar=Grammar("json_schema", json.dumps(schema)),
            max_tokens=900,
            temperature=temperature,
            seed=index,
        )
        for index, schema in enumerate(schemas)
    ]
    return requests, schemas


def check(done: dict[str, Done], schemas: list[dict[str, Any]], tokenizer: Tokenizer) -> None:
    for index, schema in enumerate(schemas):
        answer = done[f"{index}"]
        text = tokenizer.decode(answer.token_ids)
        assert (answer.finish_reason, answer.error) == ("stop", None), (schema, text)
        jsonschema.validate(json.loads(text), schema, jsonschema.Draft202012Validator, format_checker=FORMATS)


@pytest.mark.slow
@pytest.mark.parametrize("temperature", [0.7, 1.5])
def test_random_weights_keep_to_random_schemas(long_babbler: Path, temperature: float) -> None:
    requests, schemas = asked(RUNS, VOCAB, temperature)
    engine = make_engine(long_babbler, decoding="tidar", draft_length=4, predrafts="full", kv_cache_memory=2**28)
    check(run(engine, requests), schemas, Tokenizer.from_folder(long_babbler))


@pytest.mark.slow
def test_the_shipped_model_keeps_to_random_schemas() -> None:
    requests, schemas = asked(RUNS, 1024, 1.0)
    engine = make_engine(SHIPPED, dtype="float32", decoding="tidar", draft_length=4, predrafts="full")
    check(run(engine, requests), schemas, Tokenizer.from_folder(SHIPPED))


def test_a_few_schemas_are_kept_to_in_plain_decoding_as_well(long_babbler: Path) -> None:
    requests, schemas = asked(20, VOCAB, 1.0)
    plain = run(make_engine(long_babbler, decoding="ar"), requests)
    check(plain, schemas, Tokenizer.from_folder(long_babbler))
    drafted = run(make_engine(long_babbler, decoding="tidar", draft_length=8, predrafts="2"), requests)
    assert {key: a.token_ids for key, a in drafted.items()} == {key: a.token_ids for key, a in plain.items()}
