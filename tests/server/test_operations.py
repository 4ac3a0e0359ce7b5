"""What operators look at: models, tokens, health, load and metrics."""

from __future__ import annotations

import os
import signal
import threading

import httpx
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
    "tidar:request_prompt_tokens_count",
    "tidar:request_generation_tokens_count",
    "tidar:request_params_max_tokens_count",
    "tidar:request_params_n_count",
    "tidar:request_prefill_time_seconds_count",
    "tidar:request_decode_time_seconds_count",
    "tidar:request_inference_time_seconds_count",
    "tidar:request_time_per_output_token_seconds_count",
    'tidar:request_tokens_per_forward_bucket{le="2.0"}',
    'tidar:request_acceptance_rate_bucket{le="1.0"}',
    'tidar:request_errors_total{kind="engine_error"}',
    'tidar:step_time_seconds_bucket{kind="decode",le="0.001"}',
    "tidar:iteration_tokens_total_count",
    "tidar:forward_rows_total",
    'tidar:steps_by_choice_total{draft_length="4",predrafts="4"}',
    "vllm:diffusion_num_denoising_steps_total",
    "vllm:diffusion_num_canvas_positions_total",
    "vllm:diffusion_num_committed_tokens_total",
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


def test_steps_are_counted_once_in_every_way_of_counting(busy: LiveServer) -> None:
    samples = busy.metrics()

    def total(name: str) -> float:
        return sum(value for sample, value in samples.items() if sample.partition("{")[0] == name)

    steps = samples["tidar:steps_total"]
    assert total("tidar:step_time_seconds_count") == total("tidar:forwards_total") == steps
    assert samples["tidar:iteration_tokens_total_count"] == steps
    assert total("tidar:steps_by_choice_total") == steps
    assert total("tidar:step_time_seconds_sum") == pytest.approx(samples["tidar:step_seconds_total"])
    assert samples["tidar:forward_rows_total"] >= samples["tidar:draft_tokens_total"] + steps


def test_tokens_per_forward_and_acceptance_are_known_per_request(busy: LiveServer) -> None:
    before = busy.metrics()
    fields = {"prompt": "x", "temperature": 100, "seed": 5, "max_tokens": 40, "ignore_eos": True}
    figures = busy.complete(**fields, return_metrics=True)["metrics"]
    after = busy.metrics()

    def moved(name: str) -> float:
        return after[f"tidar:request_{name}"] - before[f"tidar:request_{name}"]

    assert moved("tokens_per_forward_count") == moved("acceptance_rate_count") == 1
    assert moved("tokens_per_forward_sum") == pytest.approx(figures["tokens_per_forward"])
    assert 0 < moved("acceptance_rate_sum") <= 1
    assert moved("generation_tokens_sum") == moved("params_max_tokens_sum") == 40
    phases = [moved(f"{phase}_time_seconds_sum") for phase in ("prefill", "decode", "inference")]
    assert phases[0] + phases[1] == pytest.approx(phases[2])


def test_failures_are_counted_by_kind_and_answers_by_route(busy: LiveServer) -> None:
    before = busy.metrics()
    kinds = {"invalid_request_error": ("/v1/completions", {"prompt": "x", "n": 0}), "not_found_error": ("/nowhere", {})}
    for path, body in kinds.values():
        assert busy.post(path, body).status_code in (400, 404)
    after = busy.metrics()
    for kind in kinds:
        name = f'tidar:request_errors_total{{kind="{kind}"}}'
        assert after[name] - before.get(name, 0) == 1
    name = 'tidar:http_requests_total{handler="/v1/completions",method="POST",status="400"}'
    assert after[name] - before.get(name, 0) == 1
    assert 'tidar:http_requests_total{handler="other",method="POST",status="404"}' in after


@pytest.mark.parametrize("streaming", [True, False])
def test_a_client_that_leaves_before_its_answer_begins_counts_as_499(busy: LiveServer, streaming: bool) -> None:
    name = 'tidar:http_requests_total{handler="/v1/completions",method="POST",status="499"}'
    nothing = 'tidar:http_requests_total{handler="/v1/completions",method="POST",status="0"}'
    before = busy.metrics().get(name, 0)
    os.kill(busy.engine_pid(), signal.SIGSTOP)
    try:
        with pytest.raises(httpx.ReadTimeout):
            busy.post("/v1/completions", {"prompt": "x", "stream": streaming}, timeout=1)
        busy.wait_until(lambda: busy.metrics().get(name, 0) == before + 1, 10)
    finally:
        os.kill(busy.engine_pid(), signal.SIGCONT)
    assert nothing not in busy.metrics()
    busy.wait_until_idle()


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
