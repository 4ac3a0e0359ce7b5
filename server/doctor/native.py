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
    found = compiler()
    if found is None:
        return [warn("c kernels", "there is no C compiler, so torch's slower operations serve", "Install gcc.")]
    if choose_kernels("auto", torch.device("cpu"), torch.float32) is Kernels.NATIVE:
        return [ok("c kernels", f"compiled by {found}")]
    return [warn("c kernels", f"{found} cannot compile them, so torch's slower operations serve", "Install gcc.")]
