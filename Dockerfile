# Targets: `cpu` and `cuda`. Both serve the shipped model as an unprivileged user on port 8000; see docs/operations.md.
# A digest pins the base for good: --build-arg PYTHON_IMAGE=python@sha256:...
ARG PYTHON_IMAGE=python:3.11.13-slim-bookworm

# Everything the server needs but the server, so that a changed source file does not fetch torch again.
FROM ${PYTHON_IMAGE} AS build
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1
WORKDIR /src
RUN python -m venv /opt/tidar
COPY pyproject.toml constraints.txt ./
COPY docker/requirements.py docker/
RUN /opt/tidar/bin/python docker/requirements.py otel > requirements.txt \
    && /opt/tidar/bin/python docker/requirements.py otel gpu > requirements-gpu.txt

FROM build AS build-cpu
# The compiler is for the C kernels alone and stays in this stage.
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install --yes --no-install-recommends gcc libc6-dev \
    && rm -rf /var/lib/apt/lists/*
# An index of CPU builds of torch. Without one pip takes the default build, which brings gigabytes of CUDA libraries.
ARG TORCH_INDEX_URL=""
RUN /opt/tidar/bin/pip install ${TORCH_INDEX_URL:+--index-url "$TORCH_INDEX_URL"} --no-deps -c constraints.txt torch \
    && /opt/tidar/bin/pip install -c constraints.txt -r requirements.txt
COPY README.md LICENSE ./
COPY server server
COPY engine engine
COPY models models
COPY bench bench
COPY docker/native_kernels.py docker/
RUN /opt/tidar/bin/pip install --no-deps . \
    && /opt/tidar/bin/pip uninstall --yes pip setuptools \
    && /opt/tidar/bin/python docker/native_kernels.py

FROM build AS build-cuda
# The compiler is for Triton's driver module alone and stays in this stage.
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install --yes --no-install-recommends gcc libc6-dev \
    && rm -rf /var/lib/apt/lists/*
RUN /opt/tidar/bin/pip install -c constraints.txt -r requirements-gpu.txt
COPY docker/triton_driver.py docker/
ENV TRITON_CACHE_DIR=/var/cache/triton TRITON_LIBCUDA_PATH=/usr/lib/x86_64-linux-gnu
RUN install -d /opt/stub \
    && /opt/tidar/bin/python docker/triton_driver.py --stub /opt/stub \
    && LIBRARY_PATH=/opt/stub LD_LIBRARY_PATH=/opt/stub /opt/tidar/bin/python docker/triton_driver.py
COPY README.md LICENSE ./
COPY server server
COPY engine engine
COPY models models
COPY bench bench
RUN /opt/tidar/bin/pip install --no-deps . \
    && /opt/tidar/bin/pip uninstall --yes pip setuptools

FROM ${PYTHON_IMAGE} AS runtime
ARG VERSION=0.1.0
ARG REVISION=unknown
LABEL org.opencontainers.image.title="TiDAR Serve" \
      org.opencontainers.image.description="OpenAI-compatible server for models that draft in diffusion and talk in autoregression" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}"
RUN rm -rf /usr/local/lib/python3.*/site-packages/* /usr/local/lib/python3.*/ensurepip /usr/local/bin/pip* \
    && groupadd --gid 10001 tidar \
    && useradd --create-home --no-log-init --uid 10001 --gid 10001 tidar \
    && install -d -o tidar -g tidar /models
COPY --chmod=755 docker/entrypoint.sh docker/healthy.py /opt/docker/
ENV PATH=/opt/tidar/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    TIDAR_HOME=/models/tidar \
    HF_HOME=/models/huggingface \
    TIDAR_LOG_FORMAT=json
VOLUME /models
WORKDIR /home/tidar
EXPOSE 8000
USER 10001:10001
HEALTHCHECK --interval=10s --timeout=8s --start-period=180s --retries=3 CMD ["python", "/opt/docker/healthy.py"]
STOPSIGNAL SIGTERM
ENTRYPOINT ["/opt/docker/entrypoint.sh"]

FROM runtime AS cpu
COPY --from=build-cpu /opt/tidar /opt/tidar

FROM runtime AS cuda
ENV NVIDIA_VISIBLE_DEVICES=all \
    NVIDIA_DRIVER_CAPABILITIES=compute,utility \
    TRITON_CACHE_DIR=/var/cache/triton \
    TRITON_LIBCUDA_PATH=/usr/lib/x86_64-linux-gnu
COPY --from=build-cuda /opt/tidar /opt/tidar
COPY --from=build-cuda --chown=10001:10001 /var/cache/triton /var/cache/triton
# Fails unless kernels can be launched without a compiler; the stub stands for the driver and does not stay.
RUN --mount=type=bind,from=build-cuda,source=/opt/stub,target=/opt/stub \
    --mount=type=bind,from=build-cuda,source=/src/docker,target=/opt/check \
    LD_LIBRARY_PATH=/opt/stub python /opt/check/triton_driver.py
