"""GET / and the files of the page that it shows: read once, served with headers that let it load nothing else."""

from __future__ import annotations

import hashlib
from pathlib import Path

from fastapi import APIRouter, Request
from fastapi.responses import Response

FOLDER = Path(__file__).parent.parent / "web"
TYPES = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}
#: own files only: no inline script or style, no other host, no frame, no form that leaves the page
POLICY = "; ".join(
    (
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "img-src 'self'",
        "connect-src 'self'",
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
    )
)
HEADERS = {
    "Content-Security-Policy": POLICY,
    "Cache-Control": "no-cache",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}


def page_files() -> dict[str, Path]:
    """The page's files by their path on the server; none of them says anything of the model or its operator."""
    files = {f"/web/{file.name}": file for file in sorted(FOLDER.iterdir()) if file.suffix in TYPES}
    return {"/": files.pop("/web/index.html"), **files}


def web_router() -> APIRouter:
    """Routes for all of the page's files."""
    router = APIRouter(include_in_schema=False)
    for path, file in page_files().items():
        _add(router, path, file.read_bytes(), TYPES[file.suffix])
    return router


def _add(router: APIRouter, path: str, content: bytes, kind: str) -> None:
    tag = f'"{hashlib.sha256(content).hexdigest()[:16]}"'
    headers = {**HEADERS, "ETag": tag}

    async def show(request: Request) -> Response:
        if tag in request.headers.get("if-none-match", ""):
            return Response(status_code=304, headers=headers)
        return Response(content, media_type=kind, headers=headers)

    router.add_api_route(path, show, methods=["GET", "HEAD"], response_model=None)
