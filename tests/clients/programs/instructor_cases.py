"""instructor: run with the server's /v1 address and the model's name."""

from typing import Any, Literal

import instructor
import openai
from instructor.core import InstructorRetryException
from pydantic import BaseModel, ConfigDict
from reporting import MESSAGES, MODEL, SAMPLING, URL, error, report


class Closed(BaseModel):
    """Nothing but its fields, so that random weights come to an end."""

    model_config = ConfigDict(extra="forbid")


class Step(Closed):
    done: bool
    kind: Literal["sum", "product"]


class Plan(Closed):
    first: Step
    second: Step


ASK: dict[str, Any] = {"model": MODEL, "messages": MESSAGES, "response_model": Plan, "max_retries": 0}
ROOMY = {**SAMPLING, "max_tokens": 400}
SERVER = {"base_url": URL, "api_key": "unused", "max_retries": 0}


def asked(mode: instructor.Mode) -> Any:
    client = instructor.from_openai(openai.OpenAI(**SERVER), mode=mode)
    plan, raw = client.chat.completions.create_with_completion(**ASK, **ROOMY)
    return {"plan": plan.model_dump(mode="json"), "tokens": raw.usage.completion_tokens}


def json_schema() -> Any:
    return asked(instructor.Mode.JSON_SCHEMA)


def tools() -> Any:
    return asked(instructor.Mode.TOOLS)


async def json_schema_async() -> Any:
    client = instructor.from_openai(openai.AsyncOpenAI(**SERVER), mode=instructor.Mode.JSON_SCHEMA)
    return {"plan": (await client.chat.completions.create(**ASK, **ROOMY)).model_dump(mode="json")}


def partial() -> Any:
    client = instructor.from_openai(openai.OpenAI(**SERVER), mode=instructor.Mode.JSON_SCHEMA)
    grown = list(client.chat.completions.create_partial(**ASK, **ROOMY))
    return {"plan": grown[-1].model_dump(mode="json"), "states": len(grown)}


def bad_request() -> Any:
    client = instructor.from_openai(openai.OpenAI(**SERVER), mode=instructor.Mode.JSON_SCHEMA)
    try:
        client.chat.completions.create(**ASK, **{**ROOMY, "temperature": -1})
    except openai.BadRequestError as raised:
        return error(raised)
    except InstructorRetryException as raised:
        return {**error(raised), "status": 400 if "400" in str(raised) else None}


report([json_schema, tools, json_schema_async, partial, bad_request])
