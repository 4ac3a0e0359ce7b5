"""The address to listen on."""

from __future__ import annotations

import socket

from server.doctor.base import Finding, Plan, fail, ok, warn


def check_port(plan: Plan) -> list[Finding]:
    """Whether host and port can be bound now, and who could connect."""
    address = f"{plan.host}:{plan.port}"
    family = socket.AF_INET6 if ":" in plan.host else socket.AF_INET
    with socket.socket(family) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((plan.host, plan.port))
            # a listener of somebody else's with the same option shows only now
            probe.listen()
        except OSError as error:
            advice = "End what listens there, or choose another --port (0 takes a free one)."
            if isinstance(error, socket.gaierror):
                advice = "Give --host an address of this machine."
            return [fail("port", f"{address} cannot be used ({error.strerror})", advice)]
    if plan.host in ("0.0.0.0", "::"):
        advice = "Give --api-key unless everybody who can connect may use it."
        return [warn("port", f"{address} is free, and open to every network", advice)]
    return [ok("port", f"{address} is free")]
