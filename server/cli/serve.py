"""`tidar serve`: flags in, a running server out."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from engine.config import EngineConfig
from server.cli import flags
from server.cli.keys import api_keys
from server.cli.model import adapter_path, lora_path, model_names, model_path
from server.cli.speculative import speculative_settings
from server.reasoning.registry import REASONING_PARSERS
from server.settings import ServerSettings
from server.tools.registry import TOOL_PARSERS

SECURITY = "Security"
STREAMS = "Streams"
CHAT = "Chat"
LOGS = "Logs and traces"


def serve(
    model: flags.Model = None,
    host: Annotated[str, typer.Option(help="Address to listen on; 0.0.0.0 for all.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Port to listen on; 0 takes a free one.", min=0, max=65535)] = 8000,
    uds: Annotated[str | None, typer.Option(help="Listen on this Unix socket instead.")] = None,
    root_path: Annotated[str, typer.Option(help="Path prefix that a proxy strips.")] = "",
    served_model_name: Annotated[list[str] | None, typer.Option(help="Name clients use; may be repeated.")] = None,
    decoding: flags.DecodingFlag = "auto",
    adapter: flags.Adapter = None,
    draft_length: flags.DraftLength = None,
    draft_model: flags.DraftModel = None,
    draft_width: flags.DraftWidth = 1,
    draft_nodes: flags.DraftNodes = None,
    speculative_config: flags.SpeculativeConfig = None,
    predrafts: flags.Predrafts = "auto",
    denoise_threshold: flags.DenoiseThreshold = None,
    denoise_steps: flags.DenoiseSteps = None,
    denoise_order: flags.DenoiseOrderFlag = None,
    denoise_cache: flags.DenoiseCache = False,
    max_model_len: flags.MaxModelLen = None,
    max_num_seqs: flags.MaxNumSeqs = 64,
    max_num_batched_tokens: flags.MaxNumBatchedTokens = 1024,
    page_size: flags.PageSize = 16,
    num_pages: flags.NumPages = None,
    kv_cache_memory_bytes: flags.KvCacheMemory = None,
    kv_cache_dtype: flags.KvCacheDtype = "auto",
    gpu_memory_utilization: flags.GpuMemoryUtilization = 0.9,
    enable_prefix_caching: flags.PrefixCaching = True,
    dtype: flags.Dtype = "auto",
    lora: flags.Lora = None,
    draft_lora: flags.DraftLora = None,
    quantization: flags.QuantizationFlag = flags.QuantizationName.NONE,
    device: flags.Device = "auto",
    attention_backend: flags.AttentionBackend = flags.AttentionName.AUTO,
    seed: flags.Seed = 0,
    threads: flags.Threads = None,
    max_waiting: flags.MaxWaiting = 1024,
    engine_timeout: flags.EngineTimeout = 60.0,
    async_scheduling: flags.AsyncScheduling = None,
    enforce_eager: flags.EnforceEager = False,
    data_parallel_size: flags.DataParallelSize = 1,
    tensor_parallel_size: flags.TensorParallelSize = 1,
    api_key: Annotated[
        list[str] | None,
        typer.Option(help="Key clients must send; may be repeated.", envvar="TIDAR_API_KEY", rich_help_panel=SECURITY),
    ] = None,
    api_key_file: Annotated[
        Path | None, typer.Option(help="One key per line.", envvar="TIDAR_API_KEY_FILE", rich_help_panel=SECURITY)
    ] = None,
    ssl_keyfile: Annotated[str | None, typer.Option(help="TLS private key.", rich_help_panel=SECURITY)] = None,
    ssl_certfile: Annotated[str | None, typer.Option(help="TLS certificate.", rich_help_panel=SECURITY)] = None,
    allowed_origins: Annotated[
        list[str] | None, typer.Option(help="CORS origin; may be repeated.", rich_help_panel=SECURITY)
    ] = None,
    max_body_bytes: Annotated[int, typer.Option(help="Largest request body.", min=1, rich_help_panel=SECURITY)] = 16
    * 2**20,
    trust_request_chat_template: Annotated[
        bool, typer.Option(help="Run chat templates that come with requests.", rich_help_panel=SECURITY)
    ] = False,
    stream_interval: Annotated[
        int, typer.Option(help="Least number of tokens in a chunk after the first.", min=1, rich_help_panel=STREAMS)
    ] = 1,
    stream_smoothing: Annotated[
        bool,
        typer.Option(
            "--stream-smoothing",
            help="Send a step's tokens one by one over the time a step takes.",
            rich_help_panel=STREAMS,
        ),
    ] = False,
    keep_alive: Annotated[
        float, typer.Option(help="Longest silence of a stream, in seconds.", min=0.1, rich_help_panel=STREAMS)
    ] = 15.0,
    client_timeout: Annotated[
        float,
        typer.Option(
            help="Seconds after which a client that reads nothing of its stream is taken for gone; 0 waits for ever.",
            min=0,
            rich_help_panel=STREAMS,
        ),
    ] = 60.0,
    max_stored_responses: Annotated[
        int, typer.Option(help="Answers of /v1/responses kept in memory; the least used go first.", min=0)
    ] = 1000,
    max_queue_seconds: Annotated[
        float, typer.Option(help="Requests that would wait longer get a 429; 0 lets them wait.", min=0)
    ] = 30.0,
    shutdown_timeout: Annotated[
        float, typer.Option(help="Seconds that requests in flight have to finish on Ctrl-C or SIGTERM.", min=0)
    ] = 30.0,
    tool_call_parser: Annotated[
        str | None,
        typer.Option(
            help=f"Format of tool calls: {', '.join(TOOL_PARSERS)}; by the chat template if left out.",
            callback=flags.one_of(TOOL_PARSERS),
            rich_help_panel=CHAT,
        ),
    ] = None,
    enable_auto_tool_choice: Annotated[
        bool,
        typer.Option(
            "--enable-auto-tool-choice/--no-enable-auto-tool-choice",
            help="Let the model choose to call tools, where its format is known.",
            rich_help_panel=CHAT,
        ),
    ] = True,
    reasoning_parser: Annotated[
        str | None,
        typer.Option(
            help=f"Tell thoughts from answers: {', '.join(REASONING_PARSERS)}.",
            callback=flags.one_of(REASONING_PARSERS),
            rich_help_panel=CHAT,
        ),
    ] = None,
    web: Annotated[bool, typer.Option("--web/--no-web", help="Show a page at / that chats and completes.")] = True,
    access_log: Annotated[
        bool | None,
        typer.Option(
            "--access-log/--no-access-log",
            help="Log a line per finished request; on by itself with --log-format json.",
            rich_help_panel=LOGS,
        ),
    ] = None,
    log_format: Annotated[
        flags.LogFormatName,
        typer.Option(help="Log lines for people or for machines.", envvar="TIDAR_LOG_FORMAT", rich_help_panel=LOGS),
    ] = flags.LogFormatName.TEXT,
    otlp_endpoint: Annotated[
        str | None,
        typer.Option(
            help="Send traces to this OpenTelemetry collector, such as http://localhost:4318.",
            envvar="TIDAR_OTLP_ENDPOINT",
            rich_help_panel=LOGS,
        ),
    ] = None,
) -> None:
    """Serve a model over the OpenAI API."""
    config = EngineConfig(
        model=str(model_path(model, "serve")),
        adapter=adapter_path(model, adapter, tensor_parallel_size > 1 or bool(draft_lora) or bool(async_scheduling)),
        **speculative_settings(speculative_config, draft_model, decoding, draft_length),
        draft_width=draft_width,
        draft_nodes=draft_nodes,
        predrafts=predrafts,
        denoise_threshold=denoise_threshold,
        denoise_steps=denoise_steps,
        denoise_order=denoise_order.value if denoise_order else None,
        denoise_cache=denoise_cache,
        max_model_len=max_model_len,
        max_num_seqs=max_num_seqs,
        max_num_batched_tokens=max_num_batched_tokens,
        page_size=page_size,
        num_pages=num_pages,
        kv_cache_memory=kv_cache_memory_bytes,
        kv_cache_dtype=kv_cache_dtype,
        gpu_memory_utilization=gpu_memory_utilization,
        enable_prefix_caching=enable_prefix_caching,
        dtype=dtype,
        lora=lora_path(lora, "serve"),
        draft_lora=draft_lora,
        quantization=quantization.value,
        device=device,
        attention_backend=attention_backend.value,
        seed=seed,
        threads=threads,
        max_waiting=max_waiting,
        engine_timeout=engine_timeout,
        async_scheduling=async_scheduling,
        enforce_eager=enforce_eager,
        data_parallel_size=data_parallel_size,
        tensor_parallel_size=tensor_parallel_size,
        log_format=log_format.value,
    )
    settings = ServerSettings(
        model_names=model_names(model, served_model_name),
        host=host,
        port=port,
        uds=uds,
        root_path=root_path,
        ssl_keyfile=ssl_keyfile,
        ssl_certfile=ssl_certfile,
        api_keys=api_keys(api_key or [], api_key_file),
        allowed_origins=tuple(allowed_origins or ()),
        max_body_bytes=max_body_bytes,
        keep_alive=keep_alive,
        client_timeout=client_timeout,
        stream_interval=stream_interval,
        stream_smoothing=stream_smoothing,
        max_stored_responses=max_stored_responses,
        max_queue_seconds=max_queue_seconds,
        shutdown_timeout=shutdown_timeout,
        trust_request_chat_template=trust_request_chat_template,
        access_log=log_format is flags.LogFormatName.JSON if access_log is None else access_log,
        log_format=log_format.value,
        otlp_endpoint=otlp_endpoint,
        tool_call_parser=tool_call_parser,
        auto_tool_choice=enable_auto_tool_choice,
        reasoning_parser=reasoning_parser,
        web=web,
    )
    from server.run import run_server

    raise typer.Exit(run_server(config, settings))
