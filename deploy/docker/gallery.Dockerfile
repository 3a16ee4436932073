# The gallery: enrolment, search, decisions, events. No torch, no OpenCV.
#   docker build -f deploy/docker/gallery.Dockerfile -t tessera/gallery .
FROM python:3.11-slim-bookworm AS build
ARG PIP_INDEX_URL
ARG PIP_EXTRA_INDEX_URL
ARG PIP_NO_INDEX
COPY deploy/docker/wheels /wheels
WORKDIR /src
COPY pyproject.toml constraints.txt README.md LICENSE ./
COPY tessera tessera
COPY gallery_svc gallery_svc
RUN python -m venv --without-pip /opt/tessera \
    && pip --python /opt/tessera/bin/python install --no-cache-dir --find-links /wheels -c constraints.txt '.[gallery,tracing]'

FROM python:3.11-slim-bookworm
RUN useradd --uid 10001 --user-group --create-home --home-dir /var/lib/tessera --shell /usr/sbin/nologin tessera
COPY --from=build /opt/tessera /opt/tessera
ENV PYTHONDONTWRITEBYTECODE=1 TESSERA_GALLERY_HOST=0.0.0.0
USER 10001:10001
WORKDIR /var/lib/tessera
VOLUME /var/lib/tessera
EXPOSE 7002 9102
HEALTHCHECK --interval=30s --timeout=5s --start-period=60s CMD ["/opt/tessera/bin/python", "-P", "-m", "tessera.chassis.probe", "127.0.0.1:7002"]
STOPSIGNAL SIGTERM
ENTRYPOINT ["/opt/tessera/bin/python", "-P", "-m", "gallery_svc"]
