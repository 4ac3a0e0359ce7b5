"""What operators look at: models, tokens, health, load and metrics."""

from __future__ import annotations

import threading

import pytest

from models.tokenizer import Tokenizer
from tests.server.live import LiveServer
from tests.server.sse import stream

NAMES = [
    "tidar:num_requests_running",
    "tidar:num_requests_waiting",
    "tidar:kv_cache_usage_perc",
    "tidar:kv_cache_pages",
    "tidar:engine_healthy",
    "tidar:engine_restarts_total",
    "tidar:num_preemptions_total",
    "tidar:prefix_cache_queries_total",
    "tidar:prefix_cache_hits_total",
    "tidar:prompt_tokens_total",
    "tidar:generation_tokens_total",
    "tidar:tokens_per_second",
    "tidar:tokens_per_forward",
    "tidar:acceptance_rate",
    "tidar:draft_tokens_total",
    "tidar:accepted_tokens_total",
    'tidar:accepted_tokens_per_position_total{position="0"}',
    'tidar:acceptance_length_bucket{le="1.0"}',
    'tidar:acceptance_length_bucket{le="4.0"}',
    "tidar:acceptance_length_count",
    "tidar:cold_steps_total",
    "tidar:chosen_draft_length",
    "tidar:chosen_predrafts",
    "tidar:expected_tokens_per_second",
    'tidar:request_success_total{finished_reason="stop"}',
    'tidar:request_success_total{finished_reason="length"}',
    'tidar:request_success_total{finished_reason="abort"}',
    'tidar:request_success_total{finished_reason="error"}',
    "tidar:time_to_first_token_seconds_count",
    "tidar:inter_token_latency_seconds_sum",
    'tidar:e2e_request_latency_seconds_bucket{le="+Inf"}',
    "tidar:request_queue_time_seconds_count",
    'tidar:time_to_first_token_seconds_bucket{le="0.005"}',
    'tidar:inter_token_latency_seconds_bucket{le="0.001"}',
    "tidar:steps_total",
    "tidar:step_seconds_total",
    'tidar:forwards_total{kind="decode"}',
    "vllm:spec_decode_num_drafts_total",
    "vllm:spec_decode_num_draft_tokens_total",
    "vllm:spec_decode_num_accepted_tokens_total",
    'vllm:spec_decode_num_accepted_tokens_per_pos_total{position="0"}',
]


@pytest.fixture(scope="module")
def busy(server: LiveServer) -> LiveServer:
    """The server after some work, and idle again."""
    server.complete(prompt="def f(", temperature=100, seed=1, max_tokens=40, ignore_eos=True)
    server.wait_until_idle()
    return server


@pytest.mark.parametrize("name", NAMES)
def test_the_metric_is_there(busy: LiveServer, name: str) -> None:
    assert name in busy.metrics()


def test_tokens_per_forward_is_one_plus_accepted_per_draft(busy: LiveServer) -> None:
    samples = busy.metrics()
    drafts = samples["vllm:spec_decode_num_drafts_total"]
    accepted = samples["vllm:spec_decode_num_accepted_tokens_total"]
    assert accepted > 0
    assert samples["tidar:tokens_per_forward"] == pytest.approx(1 + accepted / drafts)
    assert samples["tidar:accepted_tokens_total"] == accepted
    assert samples["tidar:acceptance_rate"] == pytest.approx(accepted / samples["tidar:draft_tokens_total"])
    assert samples["tidar:acceptance_length_count"] == drafts
    assert samples["tidar:acceptance_length_sum"] == drafts + accepted
    places = [value for name, value in samples.items() if name.startswith("tidar:accepted_tokens_per_position_total")]
    assert sum(places) == accepted
    assert places == sorted(places, reverse=True)


def test_counters_move_by_what_a_request_took(busy: LiveServer) -> None:
    before = busy.metrics()
    usage = busy.complete(prompt=[7] * 30, temperature=100, seed=9, max_tokens=20, ignore_eos=True)["usage"]
    busy.wait_until_idle()
    after = busy.metrics()

    def moved(name: str) -> float:
        return after[name] - before[name]

    assert moved("tidar:generation_tokens_total") == usage["completion_tokens"] == 20
    assert moved("tidar:prompt_tokens_total") + moved("tidar:prefix_cache_hits_total") == 30
    assert moved('tidar:request_success_total{finished_reason="length"}') == 1
    assert moved("tidar:time_to_first_token_seconds_count") == 1
    assert moved("tidar:inter_token_latency_seconds_count") == 19
    assert moved("tidar:e2e_request_latency_seconds_count") == 1


def test_histogram_buckets_are_cumulative(busy: LiveServer) -> None:
    samples = busy.metrics()
    head = 'tidar:inter_token_latency_seconds_bucket{le="'
    buckets = [(float(name[len(head) : -2]), value) for name, value in samples.items() if name.startswith(head)]
    assert [value for _, value in sorted(buckets)] == sorted(value for _, value in buckets)
    assert buckets[-1] == (float("inf"), samples["tidar:inter_token_latency_seconds_count"])


def test_stop_strings_count_as_stop_and_not_as_abort(busy: LiveServer) -> None:
    fields = {"prompt": "x", "temperature": 100, "seed": 2, "max_tokens": 100, "ignore_eos": True}
    stop = busy.complete(**fields)["choices"][0]["text"][5:8]
    before = busy.metrics()
    busy.complete(**fields, stop=stop)
    after = busy.metrics()
    for reason, count in (("stop", 1), ("abort", 0)):
        name = f'tidar:request_success_total{{finished_reason="{reason}"}}'
        assert after[name] - before[name] == count


def test_the_engine_keeps_serving_metrics_while_it_works(busy: LiveServer) -> None:
    fields = {"prompt": ["a", "b", "c"], "max_tokens": 200, "ignore_eos": True, "n": 4}
    worker = threading.Thread(target=stream, args=(f"{busy.url}/v1/completions", fields))
    worker.start()
    busy.wait_until(lambda: busy.metrics()["tidar:num_requests_running"] > 0, 10)
    assert busy.get("/load").json()["server_load"] > 0
    assert busy.get("/health/ready").status_code == 200
    worker.join()
    busy.wait_until_idle()
    assert busy.get("/load").json() == {"server_load": 0}


def test_metrics_are_in_prometheus_text_format(busy: LiveServer) -> None:
    answer = busy.get("/metrics")
    assert answer.headers["content-type"].startswith("text/plain; version=0.0.4")
    assert "# TYPE tidar:acceptance_length histogram" in answer.text
    assert 'model_name="tiny-tidar"' in answer.text


def test_the_model_is_listed_with_its_context(server: LiveServer) -> None:
    listed = server.get("/v1/models").json()
    assert [model["id"] for model in listed["data"]] == ["tiny-tidar"]
    assert listed["data"][0]["max_model_len"] == 256
    assert server.get("/v1/models/tiny-tidar").json() == listed["data"][0]


def test_the_model_may_be_called_by_the_path_it_was_given_as(server: LiveServer) -> None:
    assert server.complete(model=str(server.model), prompt="x", max_tokens=1)["model"] == str(server.model)


def test_health_version_and_readiness(server: LiveServer) -> None:
    assert server.get("/health").json() == {"status": "ok"}
    assert server.get("/health/ready").json() == {"status": "ok"}
    assert server.get("/version").json().keys() == {"version"}


def test_the_documentation_describes_every_endpoint(server: LiveServer) -> None:
    paths = server.get("/openapi.json").json()["paths"]
    assert {"/v1/completions", "/v1/chat/completions", "/v1/models", "/health", "/metrics", "/tokenize"} <= paths.keys()
    assert server.get("/docs").status_code == 200


def test_text_goes_to_tokens_and_back(server: LiveServer, tokenizer: Tokenizer) -> None:
    text = "def später(x):\n    return '€'\n"
    tokenized = server.post("/tokenize", {"prompt": text, "return_token_strs": True}).json()
    assert tokenized["tokens"] == tokenizer.encode(text)
    assert tokenized["count"] == len(tokenized["tokens"]) == len(tokenized["token_strs"])
    assert tokenized["max_model_len"] == 256
    assert server.post("/detokenize", {"tokens": tokenized["tokens"]}).json() == {"prompt": text}


def test_a_conversation_is_tokenised_as_a_chat_request_would_be(server: LiveServer) -> None:
    messages = [{"role": "user", "content": "hi"}]
    tokens = server.post("/tokenize", {"messages": messages}).json()["tokens"]
    assert tokens == server.chat(messages=messages, max_tokens=1, return_token_ids=True)["prompt_token_ids"]
