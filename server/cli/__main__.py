"""`python -m server.cli`, for where the console script is not installed."""

from server.cli import app

app()
