"""One server on a random model, in a process of its own: `python -m bench.gpu.served CONFIG PORT`."""

from __future__ import annotations

import sys

import msgspec

from engine.config import EngineConfig
from server.run import run_server
from server.settings import ServerSettings


def main(arguments: list[str]) -> int:
    """CONFIG is an EngineConfig as JSON; serves until it is told to stop."""
    config = msgspec.json.decode(arguments[0], type=EngineConfig)
    return run_server(config, ServerSettings(model_names=("random",), port=int(arguments[1])))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
