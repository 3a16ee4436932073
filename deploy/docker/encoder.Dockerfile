# The encoder on a CPU. Its networks are fetched, checked, converted and compiled while the image is built: it starts without a
# network and without a compiler. Compiled code is for the kind of processor that builds; on another kind the networks run uncompiled,
# slower, and the log says so (runtime.stays_eager). Torch must be a CPU build: put its wheel into
# deploy/docker/wheels, or name an index that has one.
#   docker build -f deploy/docker/encoder.Dockerfile -t tessera/encoder .
FROM python:3.11-slim-bookworm AS build
ARG PIP_INDEX_URL
ARG PIP_EXTRA_INDEX_URL
ARG PIP_NO_INDEX
RUN apt-get update && apt-get install -y --no-install-recommends g++ && rm -rf /var/lib/apt/lists/*
COPY deploy/docker/wheels /wheels
WORKDIR /src
COPY pyproject.toml constraints.txt README.md LICENSE ./
COPY tessera tessera
COPY encoder_svc encoder_svc
RUN python -m venv /opt/tessera \
    && /opt/tessera/bin/pip install --no-cache-dir --find-links /wheels -c constraints.txt '.[encoder,tracing]' \
    && /opt/tessera/bin/python -c "import sys, torch; torch.version.cuda and sys.exit('this is the CUDA build of torch, gigabytes of it: see the first lines')"
COPY deploy/docker/weights /weights
RUN TESSERA_CACHE_DIR=/opt/tessera/cache TESSERA_SUPPLIED_DIR=/weights /opt/tessera/bin/python -P -m encoder_svc.prepare \
    && rm -rf /opt/tessera/cache/pinned /opt/tessera/cache/locks \
    && /opt/tessera/bin/pip uninstall --yes --quiet pip setuptools \
    && cd /opt/tessera/lib/python3.11/site-packages \
    && rm -rf torch/include torch/test torch/bin/*Test torch/bin/test_* torch/bin/protoc* cv2/data

FROM python:3.11-slim-bookworm
RUN useradd --uid 10001 --user-group --create-home --home-dir /var/lib/tessera --shell /usr/sbin/nologin tessera
COPY --from=build /opt/tessera /opt/tessera
ENV PYTHONDONTWRITEBYTECODE=1 TESSERA_ENCODER_HOST=0.0.0.0 TESSERA_CACHE_DIR=/opt/tessera/cache TESSERA_ENCODERS_DIR=/var/lib/tessera/encoders
USER 10001:10001
WORKDIR /var/lib/tessera
VOLUME /var/lib/tessera
EXPOSE 7001 9101
HEALTHCHECK --interval=30s --timeout=5s --start-period=60s CMD ["/opt/tessera/bin/python", "-P", "-m", "tessera.chassis.probe", "127.0.0.1:7001"]
STOPSIGNAL SIGTERM
ENTRYPOINT ["/opt/tessera/bin/python", "-P", "-m", "encoder_svc"]
