"""What every HTTP request passes before a route sees it. Plain ASGI, so that streams and disconnects pass freely."""
