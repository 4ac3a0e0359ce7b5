"""`python -m bench.gpu --json FILE`: what the decode step costs on this GPU, against what the GPU itself can do."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import torch
from rich.console import Console

from bench.gpu.plan import FULL, TINY_PLAN, Plan, run


def main(arguments: list[str]) -> int:
    """Exit code 2 where there is no GPU to measure, 1 where a section broke off."""
    parser = argparse.ArgumentParser(prog="python -m bench.gpu", description=__doc__)
    parser.add_argument("--json", type=Path, required=True, help="file that the figures are written to")
    parser.add_argument("--device", default="cuda", help="cuda, or cpu together with --tiny")
    parser.add_argument("--tiny", action="store_true", help="a tiny model: shows that the command works, no speeds")
    parser.add_argument("--seconds", type=float, default=450.0, help="for the whole run; cases beyond are left out")
    chosen = parser.parse_args(arguments)
    device = torch.device(chosen.device)
    if device.type == "cuda" and not torch.cuda.is_available():
        print("bench.gpu measures a CUDA device, and torch finds none here.", file=sys.stderr)
        return 2
    if device.type != "cuda" and not chosen.tiny:
        print("bench.gpu measures real shapes on a CUDA device only; add --tiny to try it here.", file=sys.stderr)
        return 2
    if device.type == "cpu":
        # so small a model only waits for a second thread
        torch.set_num_threads(1)
    plan: Plan = TINY_PLAN if chosen.tiny else FULL
    console = Console(width=140)
    report = run(plan, device, chosen.seconds, console)
    report.write(chosen.json)
    report.show(console)
    return 1 if report.failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
