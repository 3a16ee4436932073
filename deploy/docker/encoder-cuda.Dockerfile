# The encoder on an NVIDIA GPU. Torch brings CUDA's libraries itself; the machine has the driver and NVIDIA's container runtime.
# Nothing is compiled: on CUDA the networks are recorded graphs, made at each start.
#   docker build -f deploy/docker/encoder-cuda.Dockerfile -t tessera/encoder-cuda .
FROM python:3.11-slim-bookworm AS build
ARG PIP_INDEX_URL
ARG PIP_EXTRA_INDEX_URL
ARG PIP_NO_INDEX
COPY deploy/docker/wheels /wheels
WORKDIR /src
COPY pyproject.toml constraints.txt README.md LICENSE ./
COPY tessera tessera
COPY encoder_svc encoder_svc
RUN python -m venv /opt/tessera \
    && /opt/tessera/bin/pip install --no-cache-dir --find-links /wheels -c constraints.txt '.[encoder,tracing]' \
    && /opt/tessera/bin/python -c "import sys, torch; torch.version.cuda or sys.exit('this is a build of torch without CUDA: take its wheel out of deploy/docker/wheels')"
COPY deploy/docker/weights /weights
RUN TESSERA_CACHE_DIR=/opt/tessera/cache TESSERA_SUPPLIED_DIR=/weights TESSERA_ENCODER_DEVICE=cpu TESSERA_ENCODER_RUNTIME=eager \
        /opt/tessera/bin/python -P -m encoder_svc.prepare \
    && rm -rf /opt/tessera/cache/pinned /opt/tessera/cache/locks \
    && /opt/tessera/bin/pip uninstall --yes --quiet pip setuptools \
    && cd /opt/tessera/lib/python3.11/site-packages \
    && rm -rf torch/include torch/test torch/bin/*Test torch/bin/test_* torch/bin/protoc* cv2/data

FROM python:3.11-slim-bookworm
RUN useradd --uid 10001 --user-group --create-home --home-dir /var/lib/tessera --shell /usr/sbin/nologin tessera
COPY --from=build /opt/tessera /opt/tessera
ENV PYTHONDONTWRITEBYTECODE=1 TESSERA_ENCODER_HOST=0.0.0.0 TESSERA_CACHE_DIR=/opt/tessera/cache TESSERA_ENCODERS_DIR=/var/lib/tessera/encoders \
    TESSERA_ENCODER_DEVICE=cuda NVIDIA_VISIBLE_DEVICES=all NVIDIA_DRIVER_CAPABILITIES=compute,utility
USER 10001:10001
WORKDIR /var/lib/tessera
VOLUME /var/lib/tessera
EXPOSE 7001 9101
HEALTHCHECK --interval=30s --timeout=5s --start-period=60s CMD ["/opt/tessera/bin/python", "-P", "-m", "tessera.chassis.probe", "127.0.0.1:7001"]
STOPSIGNAL SIGTERM
ENTRYPOINT ["/opt/tessera/bin/python", "-P", "-m", "encoder_svc"]
