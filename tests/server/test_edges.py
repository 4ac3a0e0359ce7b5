"""Keys, proxies, TLS, limits and other edges; each server here is started with the flags it is about."""

from __future__ import annotations

import asyncio
import os
import signal
import ssl
import subprocess
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.server.live import LiveServer
from tests.server.sse import stream
from tests.server.test_errors import error_of

ASK = {"prompt": "x", "max_tokens": 1}


@pytest.fixture(scope="module")
def guarded(served_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveServer]:
    """Keys from all three sources, CORS, a small body limit, its own model names, few places and chatty streams."""
    keys = tmp_path_factory.mktemp("keys") / "keys"
    keys.write_text("# operators\nfile-key\n\n")
    flags = ["--api-key", "flag-key", "--api-key", "other-key", "--api-key-file", str(keys)]
    flags += ["--allowed-origins", "https://app.example", "--max-body-bytes", "4096"]
    flags += ["--served-model-name", "coder", "--served-model-name", "coder-latest", "--root-path", "/llm"]
    flags += ["--max-num-seqs", "2", "--max-waiting", "2", "--trust-request-chat-template", "--stream-interval", "5"]
    with LiveServer(served_model, *flags) as live:
        live.client.headers["Authorization"] = "Bearer flag-key"
        yield live


@pytest.mark.parametrize("key", ["flag-key", "other-key", "file-key"])
def test_every_key_opens(guarded: LiveServer, key: str) -> None:
    assert guarded.post("/v1/completions", ASK, headers={"Authorization": f"Bearer {key}"}).status_code == 200


@pytest.mark.parametrize("given", ["", "Bearer", "Bearer wrong", "flag-key", "Basic flag-key", "Bearer flag-keyx"])
def test_anything_else_is_a_401(guarded: LiveServer, given: str) -> None:
    answer = guarded.post("/v1/completions", ASK, headers={"Authorization": given})
    assert error_of(answer, 401)["code"] == "invalid_api_key"
    assert answer.headers["www-authenticate"] == "Bearer"


def test_a_refusal_without_a_key_counts_for_the_route_it_was_meant_for(guarded: LiveServer) -> None:
    name = 'tidar:http_requests_total{handler="/v1/completions",method="POST",status="401"}'
    before = guarded.metrics().get(name, 0)
    for path in ("/v1/completions", "/llm/v1/completions"):
        assert guarded.post(path, ASK, headers={"Authorization": ""}).status_code == 401
    assert guarded.metrics()[name] - before == 2


@pytest.mark.parametrize(
    "path", ["/v1/models", "/metrics", "/tokenize", "/docs", "/openapi.json", "/load", "/version", "/nothing"]
)
def test_keys_guard_every_path(guarded: LiveServer, path: str) -> None:
    assert guarded.get(path, headers={"Authorization": ""}).status_code == 401


@pytest.mark.parametrize("path", ["/health", "/health/ready", "/llm/health"])
def test_probes_need_no_key(guarded: LiveServer, path: str) -> None:
    assert guarded.get(path, headers={"Authorization": ""}).status_code == 200


def test_a_proxys_prefix_is_understood(guarded: LiveServer) -> None:
    assert guarded.get("/llm/v1/models").status_code == 200
    assert guarded.get("/openapi.json").json()["servers"] == [{"url": "/llm"}]


def test_browsers_of_the_allowed_origin_may_ask(guarded: LiveServer) -> None:
    asked = {"Origin": "https://app.example", "Access-Control-Request-Method": "POST", "Authorization": ""}
    preflight = guarded.client.options("/v1/completions", headers=asked)
    assert preflight.status_code == 200
    assert preflight.headers["access-control-allow-origin"] == "https://app.example"
    other = guarded.client.options("/v1/completions", headers={**asked, "Origin": "https://evil.example"})
    assert other.status_code == 400


def test_a_body_beyond_the_limit_is_a_413(guarded: LiveServer) -> None:
    answer = guarded.post("/v1/completions", {**ASK, "prompt": "x" * 5000})
    assert error_of(answer, 413)["code"] == "body_too_large"


def test_a_body_that_grows_beyond_the_limit_unannounced_is_a_413(guarded: LiveServer) -> None:
    def pieces() -> Iterator[bytes]:
        yield b'{"prompt": "'
        for _ in range(50):
            yield b"x" * 1000
        yield b'"}'

    answer = guarded.client.post("/v1/completions", content=pieces(), headers={"Content-Type": "application/json"})
    assert error_of(answer, 413)["code"] == "body_too_large"


def test_the_model_answers_to_each_of_its_names(guarded: LiveServer) -> None:
    for name in ("coder", "coder-latest"):
        assert guarded.complete(**ASK, model=name)["model"] == name
    assert guarded.get("/v1/models").json()["data"][0]["id"] == "coder"
    assert guarded.post("/v1/completions", {**ASK, "model": "tiny-tidar"}).status_code == 404


def test_a_trusted_template_replaces_the_models_own(guarded: LiveServer) -> None:
    fields = {"messages": [{"role": "user", "content": "hi"}], "max_tokens": 1, "return_token_ids": True}
    template = "{{ lead }}{% for message in messages %}{{ message.content }}{% endfor %}"
    answer = guarded.chat(**fields, chat_template=template, chat_template_kwargs={"lead": ">> "})
    text = guarded.post("/detokenize", {"tokens": answer["prompt_token_ids"]}).json()["prompt"]
    assert text == ">> hi"


@pytest.mark.parametrize(
    "template", ["{{", "{{ messages.__class__.__mro__ }}", "{{ raise_exception('no') }}", "{{ 1 / 0 }}"]
)
def test_a_template_that_fails_is_a_400(guarded: LiveServer, template: str) -> None:
    body = {"messages": [{"role": "user", "content": "hi"}], "max_tokens": 1, "chat_template": template}
    error_of(guarded.post("/v1/chat/completions", body), 400)


def test_request_ids_are_echoed_or_made(guarded: LiveServer) -> None:
    assert guarded.get("/health", headers={"X-Request-Id": "mine"}).headers["x-request-id"] == "mine"
    made = {guarded.get("/health").headers["x-request-id"] for _ in range(2)}
    assert len(made) == 2
    answer = guarded.post("/v1/completions", ASK, headers={"X-Request-Id": "abc"})
    assert answer.json()["id"] == "cmpl-abc"


def test_more_than_the_queue_holds_is_a_429_that_says_when_to_come_again(guarded: LiveServer) -> None:
    """Two places run and two wait; one request with four choices takes them all, while the engine stands still."""

    async def crowd() -> tuple[httpx.Response, httpx.Response]:
        async with httpx.AsyncClient(base_url=guarded.url, headers=guarded.client.headers, timeout=60) as client:
            filling = asyncio.create_task(client.post("/v1/completions", json={**ASK, "n": 4}))
            while (await client.get("/load")).json()["server_load"] < 4:
                await asyncio.sleep(0.01)
            refused = await client.post("/v1/completions", json=ASK)
            os.kill(guarded.engine_pid(), signal.SIGCONT)
            return refused, await filling

    os.kill(guarded.engine_pid(), signal.SIGSTOP)
    refused, filling = asyncio.run(crowd())
    assert error_of(refused, 429)["code"] == "queue_full"
    assert int(refused.headers["retry-after"]) >= 1
    assert filling.status_code == 200
    assert guarded.complete(**ASK)


def test_more_than_the_server_could_ever_hold_is_a_400(guarded: LiveServer) -> None:
    assert error_of(guarded.post("/v1/completions", {**ASK, "n": 5}), 400)["param"] == "n"


def test_a_stream_interval_joins_tokens_but_not_the_first_text(guarded: LiveServer) -> None:
    fields = {
        "prompt": "x",
        "temperature": 100,
        "seed": 1,
        "max_tokens": 40,
        "ignore_eos": True,
        "return_token_ids": True,
    }
    headers = {"Authorization": "Bearer flag-key"}
    chunks = stream(f"{guarded.url}/v1/completions", fields, headers=headers)
    sizes = [len(chunk["choices"][0]["token_ids"]) for chunk in chunks]
    assert sum(sizes) == 40
    assert all(size >= 5 for size in sizes[1:-1])


def test_tls(served_model: Path, tmp_path: Path) -> None:
    key, certificate = tmp_path / "key.pem", tmp_path / "cert.pem"
    make = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", str(key), "-out", str(certificate)]
    make += ["-days", "1", "-subj", "/CN=localhost", "-addext", "subjectAltName=IP:127.0.0.1"]
    subprocess.run(make, check=True, capture_output=True)
    flags = ["--ssl-keyfile", str(key), "--ssl-certfile", str(certificate)]
    with LiveServer(served_model, *flags, verify=ssl.create_default_context(cafile=str(certificate))) as live:
        assert live.complete(**ASK)


def test_a_unix_socket_serves_too(served_model: Path, tmp_path: Path) -> None:
    path = str(tmp_path / "tidar.sock")
    with LiveServer(served_model, "--uds", path, transport=httpx.HTTPTransport(uds=path)) as live:
        assert live.complete(**ASK)
