# One image for every process of Spendgate: installed from the lock, without compilers, pip or tests, as a user without
# rights. It runs with a read-only root file system; what a process keeps lies in /var/lib/spendgate, to be mounted.
FROM python:3.13-slim-trixie AS build
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1
WORKDIR /src
COPY requirements.lock requirements-build.lock ./
RUN python -m venv /opt/build \
    && /opt/build/bin/pip install --require-hashes --requirement requirements-build.lock \
    && python -m venv --without-pip /opt/spendgate \
    && /opt/build/bin/pip --python /opt/spendgate/bin/python install --require-hashes --requirement requirements.lock
COPY pyproject.toml README.md LICENSE ./
COPY ledger ledger
COPY lua lua
COPY sidecar sidecar
COPY controlplane controlplane
COPY cli cli
# SOURCE_DATE_EPOCH makes two builds of one commit give the same wheel.
ARG SOURCE_DATE_EPOCH=1767225600
RUN /opt/build/bin/python -m hatchling build --target wheel \
    && /opt/build/bin/pip --python /opt/spendgate/bin/python install --no-deps dist/*.whl

FROM python:3.13-slim-trixie
ARG VERSION=0.1.0
LABEL org.opencontainers.image.title="Spendgate" \
      org.opencontainers.image.description="Stops LLM overspend before it happens" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}"
RUN useradd --uid 65532 --user-group --no-create-home --shell /usr/sbin/nologin spendgate \
    && install --directory --owner=65532 --group=65532 --mode=0700 /var/lib/spendgate
COPY --from=build /opt/spendgate /opt/spendgate
ENV PATH=/opt/spendgate/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    SPENDGATE_DATA_DIR=/var/lib/spendgate
USER 65532:65532
WORKDIR /var/lib/spendgate
VOLUME /var/lib/spendgate
# Decisions, the page, and the health and metrics of each.
EXPOSE 8787 8788 9797 9798
# Each orchestrator asks in its own way: `spendgate healthcheck [sidecar|controlplane]`, or HTTP at /readyz and /livez.
ENTRYPOINT ["spendgate"]
CMD ["sidecar"]
