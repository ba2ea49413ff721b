# One image for every service: `docker build -t parcours .`, then `docker run ... parcours run` or see docker-compose.yml.
# Not yet tried with a container engine; checked by hadolint and by tests/contract/test_containers.py.

FROM python:3.13-slim-bookworm AS packages
COPY requirements/run.txt /tmp/run.txt
RUN python -m venv /opt/venv \
    && /opt/venv/bin/pip install --no-cache-dir --disable-pip-version-check --require-hashes --only-binary :all: \
        --requirement /tmp/run.txt

FROM python:3.13-slim-bookworm
LABEL org.opencontainers.image.title="Parcours" \
      org.opencontainers.image.licenses="Apache-2.0"
RUN groupadd --gid 10001 parcours \
    && useradd --uid 10001 --gid parcours --no-create-home --shell /usr/sbin/nologin parcours \
    && install -d -o parcours -g parcours -m 0700 /data
ENV PATH=/opt/venv/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    PARCOURS_HOST=0.0.0.0 \
    PARCOURS_PORT=8080 \
    PARCOURS_DATA_DIR=/data
WORKDIR /app
COPY --from=packages /opt/venv /opt/venv
COPY LICENSE ./
COPY schemas ./schemas
COPY behavior ./behavior
COPY tracks ./tracks
COPY ingest ./ingest
COPY stage_engine ./stage_engine
COPY segmenter ./segmenter
COPY notifier ./notifier
COPY services ./services
COPY definitions ./definitions
USER 10001:10001
VOLUME ["/data"]
EXPOSE 8080
HEALTHCHECK --interval=10s --timeout=4s --start-period=20s --retries=3 \
    CMD ["python", "-c", "import os, urllib.request as r; r.urlopen(f\"http://127.0.0.1:{os.environ['PARCOURS_PORT']}/healthz\", timeout=3)"]
STOPSIGNAL SIGTERM
ENTRYPOINT ["python", "-m", "services.cli"]
CMD ["run"]
