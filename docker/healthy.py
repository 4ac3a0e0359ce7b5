"""The container's health check: exits with 0 when the server says that it would answer a request."""

import http.client
import os
import sys

SECONDS = 7


def ready(port: int) -> bool:
    """Whether /health/ready on this container's port answers 200 in time."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=SECONDS)
    try:
        connection.request("GET", "/health/ready")
        return connection.getresponse().status == 200
    except OSError:
        return False
    finally:
        connection.close()


if __name__ == "__main__":
    sys.exit(0 if ready(int(os.environ.get("TIDAR_PORT", "8000"))) else 1)
