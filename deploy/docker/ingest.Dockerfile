# The camera worker: reads streams, follows people, keeps best shots. No torch.
#   docker build -f deploy/docker/ingest.Dockerfile -t tessera/ingest .
FROM python:3.11-slim-bookworm AS build
ARG PIP_INDEX_URL
ARG PIP_EXTRA_INDEX_URL
ARG PIP_NO_INDEX
COPY deploy/docker/wheels /wheels
WORKDIR /src
COPY pyproject.toml constraints.txt README.md LICENSE ./
COPY tessera tessera
COPY camera_ingest camera_ingest
RUN python -m venv --without-pip /opt/tessera \
    && pip --python /opt/tessera/bin/python install --no-cache-dir --find-links /wheels -c constraints.txt '.[ingest,tracing]'

FROM python:3.11-slim-bookworm
RUN useradd --uid 10001 --user-group --create-home --home-dir /var/lib/tessera --shell /usr/sbin/nologin tessera
COPY --from=build /opt/tessera /opt/tessera
ENV PYTHONDONTWRITEBYTECODE=1 TESSERA_INGEST_HOST=0.0.0.0
USER 10001:10001
WORKDIR /var/lib/tessera
VOLUME /var/lib/tessera
EXPOSE 7003 9103
HEALTHCHECK --interval=30s --timeout=5s --start-period=60s CMD ["/opt/tessera/bin/python", "-P", "-m", "tessera.chassis.probe", "127.0.0.1:7003"]
STOPSIGNAL SIGTERM
ENTRYPOINT ["/opt/tessera/bin/python", "-P", "-m", "camera_ingest"]
