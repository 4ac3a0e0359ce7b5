"""/v1/responses against a live server: whole, streamed, stored, continued, in the background, cancelled."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import jsonschema
import pytest

from tests.server.live import LiveServer
from tests.server.test_errors import error_of

PATH = "/v1/responses"
LIVELY: dict[str, Any] = {"temperature": 100.0, "seed": 7, "max_output_tokens": 16, "ignore_eos": True}
TEXT_EVENTS = [
    "response.created",
    "response.in_progress",
    "response.output_item.added",
    "response.content_part.added",
    "response.output_text.delta",
    "response.output_text.done",
    "response.content_part.done",
    "response.output_item.done",
]


def respond(server: LiveServer, **fields: Any) -> dict[str, Any]:
    answer = server.post(PATH, {"input": "Add two numbers.", **LIVELY, **fields})
    assert answer.status_code == 200, answer.text
    return dict(answer.json())


def events_of(lines: Iterator[str]) -> list[dict[str, Any]]:
    """Data of all events; each has to come under its own type's name, numbered from where the first begins."""
    events: list[dict[str, Any]] = []
    name = ""
    for line in lines:
        if line.startswith("event: "):
            name = line.removeprefix("event: ")
        elif line.startswith("data: "):
            events.append(json.loads(line.removeprefix("data: ")))
            assert events[-1]["type"] == name
    first = events[0]["sequence_number"]
    assert [event["sequence_number"] for event in events] == list(range(first, first + len(events)))
    return events


def stream(server: LiveServer, **fields: Any) -> list[dict[str, Any]]:
    body = {"input": "Add two numbers.", **LIVELY, **fields, "stream": True}
    with server.client.stream("POST", PATH, json=body) as answer:
        assert answer.status_code == 200, answer.read()
        return events_of(answer.iter_lines())


def text_of(response: dict[str, Any]) -> str:
    return "".join(part["text"] for item in response["output"] for part in item["content"])


def test_a_response_says_what_a_chat_completion_says(server: LiveServer) -> None:
    response = respond(server, instructions="You write Python.", metadata={"team": "a"})
    chat = server.chat(
        messages=[
            {"role": "system", "content": "You write Python."},
            {"role": "user", "content": "Add two numbers."},
        ],
        temperature=100.0,
        seed=7,
        max_tokens=16,
        ignore_eos=True,
    )
    assert text_of(response) == chat["choices"][0]["message"]["content"]
    assert response["status"] == "incomplete"
    assert response["incomplete_details"] == {"reason": "max_output_tokens"}
    assert response["metadata"] == {"team": "a"}
    assert response["usage"]["input_tokens"] == chat["usage"]["prompt_tokens"]
    assert response["usage"]["output_tokens"] == 16
    assert response["usage"]["total_tokens"] == chat["usage"]["total_tokens"]


def test_a_response_that_ends_by_itself_is_completed(server: LiveServer) -> None:
    text = text_of(respond(server))
    response = respond(server, stop=text[6:8])
    assert response["status"] == "completed"
    assert response["completed_at"] >= response["created_at"]
    assert text_of(response) == text[: text.index(text[6:8])]


def test_a_streams_events_come_in_order_and_tell_the_whole(server: LiveServer) -> None:
    events = stream(server)
    kinds = [event["type"] for event in events]
    assert list(dict.fromkeys(kinds)) == [*TEXT_EVENTS, "response.incomplete"]
    assert kinds.count("response.output_text.delta") > 2
    assert len(kinds) - kinds.count("response.output_text.delta") == len(TEXT_EVENTS)
    whole = respond(server)
    deltas = "".join(event["delta"] for event in events if event["type"] == "response.output_text.delta")
    assert deltas == text_of(whole) == events[-4]["text"]
    last = events[-1]["response"]
    assert text_of(last) == text_of(whole)
    assert last["usage"]["output_tokens"] == whole["usage"]["output_tokens"]
    assert events[0]["response"]["status"] == "in_progress"
    assert events[0]["response"]["output"] == []
    assert len({event["response"]["id"] for event in events if "response" in event}) == 1
    assert len({event["item_id"] for event in events if "item_id" in event}) == 1


def test_logprobs_are_given_per_delta_and_for_the_whole(server: LiveServer) -> None:
    wanted = {"include": ["message.output_text.logprobs"], "top_logprobs": 2}
    whole = respond(server, **wanted)["output"][0]["content"][0]["logprobs"]
    assert len(whole) == 16
    assert all(len(entry["top_logprobs"]) == 2 for entry in whole)
    deltas = [event for event in stream(server, **wanted) if event["type"] == "response.output_text.delta"]
    assert [entry for event in deltas for entry in event["logprobs"]] == whole


def test_items_are_a_conversation(server: LiveServer) -> None:
    items = [
        {"role": "developer", "content": "Be brief."},
        {"role": "user", "content": [{"type": "input_text", "text": "Hello"}]},
        {"type": "reasoning", "id": "rs_1", "summary": [{"type": "summary_text", "text": "hm"}]},
        {
            "type": "message",
            "id": "msg_1",
            "role": "assistant",
            "status": "completed",
            "content": [{"type": "output_text", "text": "Hi", "annotations": [], "logprobs": []}],
        },
        {"role": "user", "content": "Add."},
    ]
    messages = [
        {"role": "developer", "content": "Be brief."},
        {"role": "user", "content": "Hello"},
        {"role": "assistant", "content": "Hi"},
        {"role": "user", "content": "Add."},
    ]
    chat = server.chat(messages=messages, temperature=0, max_tokens=8)
    response = respond(server, input=items, temperature=0, max_output_tokens=8, ignore_eos=False)
    assert text_of(response) == chat["choices"][0]["message"]["content"]


def test_a_conversation_goes_on_from_a_stored_response(server: LiveServer) -> None:
    first = respond(server, instructions="Not carried over.")
    second = respond(server, input="Again.", previous_response_id=first["id"])
    messages = [
        {"role": "user", "content": "Add two numbers."},
        {"role": "assistant", "content": text_of(first)},
        {"role": "user", "content": "Again."},
    ]
    prompt = server.post("/tokenize", {"messages": messages}).json()
    assert second["usage"]["input_tokens"] == prompt["count"]
    assert second["previous_response_id"] == first["id"]
    third = respond(server, input="More.", previous_response_id=second["id"], max_output_tokens=4)
    assert third["usage"]["input_tokens"] > second["usage"]["input_tokens"] + second["usage"]["output_tokens"]


def test_stored_responses_are_retrieved_listed_and_deleted(server: LiveServer) -> None:
    made = respond(server)
    assert server.get(f"{PATH}/{made['id']}").json() == made
    assert stream(server)[-1]["response"]["store"] is True
    listed = server.get(f"{PATH}/{made['id']}/input_items").json()
    assert listed["data"][0]["content"] == [{"type": "input_text", "text": "Add two numbers."}]
    assert not listed["has_more"]
    assert server.client.delete(f"{PATH}/{made['id']}").json()["deleted"] is True
    error_of(server.get(f"{PATH}/{made['id']}"), 404)
    error_of(server.client.delete(f"{PATH}/{made['id']}"), 404)


def test_input_items_are_paged(server: LiveServer) -> None:
    items = [{"id": None, "role": "user", "content": f"{number}"} for number in range(5)]
    made = respond(server, input=items, max_output_tokens=1)
    path = f"{PATH}/{made['id']}/input_items"
    first = server.get(path, params={"limit": 2, "order": "asc"}).json()
    rest = server.get(path, params={"order": "asc", "after": first["last_id"]}).json()
    assert first["has_more"]
    assert not rest["has_more"]
    read = [item["content"][0]["text"] for item in first["data"] + rest["data"]]
    assert read == ["0", "1", "2", "3", "4"]
    assert error_of(server.get(path, params={"limit": 0}), 400)["param"] == "limit"
    assert error_of(server.get(path, params={"after": "nobody"}), 400)["param"] == "after"


def test_what_is_not_to_be_stored_is_not(server: LiveServer) -> None:
    made = respond(server, store=False)
    assert made["store"] is False
    error_of(server.get(f"{PATH}/{made['id']}"), 404)
    error = error_of(server.post(PATH, {"input": "x", "previous_response_id": made["id"]}), 404)
    assert error["param"] == "previous_response_id"


def test_a_background_response_is_made_while_nobody_waits(server: LiveServer) -> None:
    queued = respond(server, background=True)
    assert queued["status"] in ("queued", "in_progress")
    assert queued["output"] == []
    path = f"{PATH}/{queued['id']}"
    server.wait_until(lambda: server.get(path).json()["status"] == "incomplete", 10)
    assert text_of(server.get(path).json()) == text_of(respond(server))
    finished = server.post(f"{path}/cancel", {}).json()
    assert finished["status"] == "incomplete", "a response that has finished stays as it is"


def test_a_background_stream_can_be_left_and_taken_up_again(server: LiveServer) -> None:
    body = {"input": "Add two numbers.", **LIVELY, "background": True, "stream": True}
    with server.client.stream("POST", PATH, json=body) as answer:
        lines = answer.iter_lines()
        first = [next(lines) for _ in range(2)]
    created = json.loads(first[1].removeprefix("data: "))
    path = f"{PATH}/{created['response']['id']}"
    with server.client.stream("GET", path, params={"stream": "true", "starting_after": 1}) as answer:
        events = events_of(answer.iter_lines())
    assert events[0]["sequence_number"] == 2
    assert events[-1]["type"] == "response.incomplete"
    with server.client.stream("GET", path, params={"stream": "true"}) as answer:
        replayed = events_of(answer.iter_lines())
    assert [event["type"] for event in replayed[:3]] == [
        "response.created",
        "response.queued",
        "response.in_progress",
    ]
    assert replayed[2:] == events


def test_cancelling_stops_the_engines_work(server: LiveServer) -> None:
    """The engine stands still meanwhile, so that nothing can finish before it is cancelled."""
    aborted = 'tidar:request_success_total{finished_reason="abort"}'
    before = server.metrics()[aborted]
    os.kill(server.engine_pid(), signal.SIGSTOP)
    try:
        queued = respond(server, background=True, max_output_tokens=200)
        cancelled = server.post(f"{PATH}/{queued['id']}/cancel", {}).json()
    finally:
        os.kill(server.engine_pid(), signal.SIGCONT)
    assert cancelled["status"] == "cancelled"
    assert server.get(f"{PATH}/{queued['id']}").json()["status"] == "cancelled"
    server.wait_until(lambda: server.metrics()[aborted] > before, 10)
    server.wait_until_idle(15)
    error = error_of(server.post(PATH, {"input": "x", "previous_response_id": queued["id"]}), 400)
    assert error["param"] == "previous_response_id"


def test_who_follows_a_response_that_is_cancelled_is_told(server: LiveServer) -> None:
    os.kill(server.engine_pid(), signal.SIGSTOP)
    try:
        path = f"{PATH}/{respond(server, background=True, max_output_tokens=200)['id']}"
        with ThreadPoolExecutor(1) as pool, server.client.stream("GET", path, params={"stream": "true"}) as answer:
            lines = answer.iter_lines()
            following = pool.submit(events_of, lines)
            assert server.post(f"{path}/cancel", {}).json()["status"] == "cancelled"
            events = following.result(10)
    finally:
        os.kill(server.engine_pid(), signal.SIGCONT)
    assert events[-1]["type"] == "response.incomplete"
    assert events[-1]["response"]["status"] == "cancelled"
    assert [event["sequence_number"] for event in events] == list(range(len(events)))
    with server.client.stream("GET", path, params={"stream": "true"}) as answer:
        assert events_of(answer.iter_lines()) == events
    server.wait_until_idle(15)


def test_only_background_responses_can_be_cancelled_or_streamed_again(server: LiveServer) -> None:
    made = respond(server)
    error_of(server.post(f"{PATH}/{made['id']}/cancel", {}), 400)
    assert error_of(server.get(f"{PATH}/{made['id']}", params={"stream": "true"}), 400)["param"] == "stream"
    error_of(server.post(f"{PATH}/resp_nobody/cancel", {}), 404)


def test_a_client_that_leaves_its_stream_is_aborted(server: LiveServer) -> None:
    body = {"input": "x", "max_output_tokens": 200, "ignore_eos": True, "stream": True}
    with server.client.stream("POST", PATH, json=body) as answer:
        next(answer.iter_lines())
    server.wait_until_idle(2)


SCHEMA = {
    "type": "object",
    "properties": {"ok": {"type": "boolean"}, "kind": {"enum": ["sum", "product"]}},
    "required": ["ok", "kind"],
    "additionalProperties": False,
}
ADD = {"type": "function", "name": "add", "parameters": SCHEMA}
SAID = '<think>\nTwo and two.\n</think>\nHere:<tool_call>\n{"name": "add", "arguments": {"ok": true}}\n</tool_call>'


def test_the_text_keeps_to_a_schema(server: LiveServer) -> None:
    form = {"format": {"type": "json_schema", "name": "answer", "schema": SCHEMA, "strict": True}}
    response = respond(server, text=form, max_output_tokens=60)
    assert response["status"] == "completed"
    jsonschema.validate(json.loads(text_of(response)), SCHEMA)
    assert response["text"]["format"] == form["format"]
    assert text_of(stream(server, text=form, max_output_tokens=60)[-1]["response"]) == text_of(response)


def test_a_forced_call_is_an_item_and_its_result_goes_on(tool_server: LiveServer) -> None:
    choice = {"type": "function", "name": "add"}
    fields = {"tools": [ADD], "tool_choice": choice, "parallel_tool_calls": False, "max_output_tokens": 100}
    made = respond(tool_server, **fields)
    (call,) = made["output"]
    assert call["type"] == "function_call"
    assert call["name"] == "add"
    jsonschema.validate(json.loads(call["arguments"]), SCHEMA)
    result = {"type": "function_call_output", "call_id": call["call_id"], "output": "4"}
    followed = respond(tool_server, input=[result], previous_response_id=made["id"])
    told_again = respond(tool_server, input=[{"role": "user", "content": "Add two numbers."}, call, result])
    assert followed["usage"]["input_tokens"] == told_again["usage"]["input_tokens"]
    assert text_of(followed) == text_of(told_again)


def test_thoughts_text_and_calls_are_items_that_follow_each_other(hermes_server: LiveServer) -> None:
    """The grammar makes the model say just this; the parsers find the three parts in it."""
    fields = {"structured_outputs": {"grammar": f"start: {json.dumps(SAID)}"}, "max_output_tokens": 150}
    events = stream(hermes_server, tools=[ADD], tool_choice="none", **fields)
    assert [item["type"] for item in events[-1]["response"]["output"]] == ["reasoning", "message"]
    whole = respond(hermes_server, **fields)
    thought, message = whole["output"][:2]
    assert thought["content"][0]["text"].strip() == "Two and two."
    assert message["content"][0]["text"].strip().startswith("Here:")
    assert whole["usage"]["output_tokens_details"]["reasoning_tokens"] > 3
    for index, item in enumerate(events[-1]["response"]["output"]):
        own = [event for event in events if event.get("output_index") == index]
        assert own[0]["type"] == "response.output_item.added"
        assert own[-1]["type"] == "response.output_item.done"
        assert own[-1]["item"] == item
        told = "".join(event["delta"] for event in own if "delta" in event)
        assert told == item["content"][0]["text"]


def test_a_streamed_call_tells_its_arguments_piece_by_piece(tool_server: LiveServer) -> None:
    fields = {"tools": [ADD], "tool_choice": "required", "parallel_tool_calls": False, "max_output_tokens": 100}
    events = stream(tool_server, **fields)
    (call,) = events[-1]["response"]["output"]
    deltas = [event["delta"] for event in events if event["type"] == "response.function_call_arguments.delta"]
    assert "".join(deltas) == call["arguments"]
    (done,) = [event for event in events if event["type"] == "response.function_call_arguments.done"]
    assert done["arguments"] == call["arguments"]
    whole = respond(tool_server, **fields)["output"][0]
    assert (whole["name"], whole["arguments"]) == (call["name"], call["arguments"])


@pytest.fixture(scope="module")
def forgetful(served_model: Path) -> Iterator[LiveServer]:
    with LiveServer(served_model, "--max-stored-responses", "2") as live:
        yield live


def test_no_more_are_kept_than_the_operator_allows(forgetful: LiveServer) -> None:
    names = [respond(forgetful, max_output_tokens=1)["id"] for _ in range(2)]
    assert forgetful.get(f"{PATH}/{names[0]}").status_code == 200
    names.append(respond(forgetful, max_output_tokens=1)["id"])
    kept = [forgetful.get(f"{PATH}/{name}").status_code for name in names]
    assert kept == [200, 404, 200], "the least recently used one goes"


def test_an_engine_that_dies_ends_the_stream_with_a_failed_response(forgetful: LiveServer) -> None:
    body = {"input": "x", "max_output_tokens": 200, "ignore_eos": True, "stream": True}
    os.kill(forgetful.engine_pid(), signal.SIGSTOP)
    with httpx.stream("POST", f"{forgetful.url}{PATH}", json=body, timeout=60) as answer:
        lines = answer.iter_lines()
        first = next(lines)
        os.kill(forgetful.engine_pid(), signal.SIGKILL)
        events = events_of(iter([first, *lines]))
    assert events[-1]["type"] == "response.failed"
    failed = events[-1]["response"]
    assert failed["status"] == "failed"
    assert failed["error"]["code"] == "server_error"
    assert forgetful.get(f"{PATH}/{failed['id']}").json()["status"] == "failed"
