#!/bin/sh
# Arguments are those of `tidar serve`: a model, flags, or nothing for the shipped model. A command of another kind
# begins with `tidar`, as in `docker run IMAGE tidar doctor`.
set -eu

case "${1:-}" in
    tidar | python | sh) exec "$@" ;;
    serve) shift ;;
esac
exec tidar serve --host "${TIDAR_HOST:-0.0.0.0}" --port "${TIDAR_PORT:-8000}" "$@"
