# The sidecar's image: installed from the lock, without compilers, as a user without rights.
FROM python:3.13-slim AS build
WORKDIR /src
COPY requirements.lock ./
RUN python -m venv /opt/spendgate \
    && /opt/spendgate/bin/pip install --no-cache-dir --require-hashes -r requirements.lock \
    && python -m venv /opt/build \
    && /opt/build/bin/pip install --no-cache-dir "hatchling>=1.27,<2"
COPY pyproject.toml README.md LICENSE ./
COPY ledger ledger
COPY lua lua
COPY sidecar sidecar
COPY controlplane controlplane
COPY cli cli
RUN /opt/build/bin/python -m hatchling build --target wheel \
    && /opt/spendgate/bin/pip install --no-cache-dir --no-deps dist/*.whl

FROM python:3.13-slim
RUN useradd --uid 65532 --user-group --no-create-home --shell /usr/sbin/nologin spendgate \
    && install --directory --owner=65532 --group=65532 --mode=0700 /var/lib/spendgate
COPY --from=build /opt/spendgate /opt/spendgate
ENV PATH=/opt/spendgate/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    SPENDGATE_DATA_DIR=/var/lib/spendgate
USER 65532:65532
WORKDIR /var/lib/spendgate
EXPOSE 8787 9797
ENTRYPOINT ["spendgate"]
CMD ["sidecar"]
