"""Whether a CPU gets the kernels that are compiled where they run."""

from __future__ import annotations

from server.doctor.base import Finding, Plan, ok, warn


def check_native(plan: Plan) -> list[Finding]:
    """Compiles them, as a server's first start would; nothing to say where a GPU serves."""
    import torch

    from engine.attention.choice import choose_kernels
    from models.inference import Kernels
    from models.native.library import compiler

    if torch.cuda.is_available() and plan.device != "cpu":
        return []
    if choose_kernels("auto", torch.device("cpu"), torch.float32) is Kernels.NATIVE:
        return [ok("c kernels", "ready")]
    found = compiler()
    hindrance = "there is no C compiler" if found is None else f"{found} cannot compile them"
    return [warn("c kernels", f"{hindrance}, so torch's slower operations serve", "Install gcc.")]
