# The command `tessera` for whoever runs a site: keys, enrolment, doctor, backup. No service runs in it.
#   docker build -f deploy/docker/tools.Dockerfile -t tessera/tools .
FROM python:3.11-slim-bookworm AS build
ARG PIP_INDEX_URL
ARG PIP_EXTRA_INDEX_URL
ARG PIP_NO_INDEX
COPY deploy/docker/wheels /wheels
WORKDIR /src
COPY pyproject.toml constraints.txt README.md LICENSE ./
COPY tessera tessera
RUN python -m venv --without-pip /opt/tessera \
    && pip --python /opt/tessera/bin/python install --no-cache-dir --find-links /wheels -c constraints.txt '.[cli]'

FROM python:3.11-slim-bookworm
RUN useradd --uid 10001 --user-group --create-home --home-dir /var/lib/tessera --shell /usr/sbin/nologin tessera
COPY --from=build /opt/tessera /opt/tessera
ENV PYTHONDONTWRITEBYTECODE=1
USER 10001:10001
WORKDIR /var/lib/tessera
VOLUME /var/lib/tessera
ENTRYPOINT ["/opt/tessera/bin/tessera"]
CMD ["--help"]
