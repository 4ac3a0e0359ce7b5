# Targets: `cpu` and `cuda`. Both run `tidar serve` as an unprivileged user on port 8000.
ARG PYTHON_IMAGE=python:3.12.11-slim-bookworm

FROM ${PYTHON_IMAGE} AS build
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1
RUN python -m venv /opt/tidar
WORKDIR /src
COPY pyproject.toml constraints.txt README.md LICENSE ./
COPY server server
COPY engine engine
COPY models models
COPY bench bench

FROM build AS build-cpu
# An index of CPU builds of torch; without one, pip takes the default build, which brings CUDA libraries along.
ARG TORCH_INDEX_URL=""
RUN /opt/tidar/bin/pip install ${TORCH_INDEX_URL:+--index-url "$TORCH_INDEX_URL"} --no-deps torch==2.13.0 \
    && /opt/tidar/bin/pip install -c constraints.txt .

FROM build AS build-cuda
RUN /opt/tidar/bin/pip install -c constraints.txt .

FROM ${PYTHON_IMAGE} AS runtime
LABEL org.opencontainers.image.title="TiDAR Serve" \
      org.opencontainers.image.description="OpenAI-compatible server for models that draft in diffusion and talk in autoregression" \
      org.opencontainers.image.licenses="Apache-2.0"
RUN useradd --create-home --uid 10001 tidar
ENV PATH=/opt/tidar/bin:$PATH PYTHONUNBUFFERED=1 HF_HOME=/models
VOLUME /models
EXPOSE 8000
USER tidar
HEALTHCHECK --interval=10s --timeout=3s --start-period=120s \
    CMD ["python", "-c", "import urllib.request as u; u.urlopen('http://127.0.0.1:8000/health/ready', timeout=2)"]
STOPSIGNAL SIGTERM
ENTRYPOINT ["tidar", "serve"]
CMD ["--host", "0.0.0.0", "--port", "8000"]

FROM runtime AS cpu
COPY --from=build-cpu /opt/tidar /opt/tidar

FROM runtime AS cuda
ENV NVIDIA_VISIBLE_DEVICES=all NVIDIA_DRIVER_CAPABILITIES=compute,utility
COPY --from=build-cuda /opt/tidar /opt/tidar
