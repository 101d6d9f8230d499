# syntax=docker/dockerfile:1.7
# One image for the Ray head, its workers and the MLflow server. PyTorch's wheels hold CUDA, so it
# serves CPU and GPU nodes alike. Layers, from rarely to often changed: base, locked packages, code.
FROM python:3.11.14-slim-bookworm AS base
ENV PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    PYTHONSAFEPATH=1 \
    PATH=/opt/lotus/code/bin:/opt/lotus/venv/bin:/usr/local/bin:/usr/bin:/bin \
    PYTHONPATH=/opt/lotus/code

# The versions and hashes of requirements.lock, without what only tests need; uv itself by hash too.
FROM base AS packages
WORKDIR /src
COPY orchestrator/deploy/uv.txt ./
RUN python -m pip install --no-cache-dir --disable-pip-version-check --require-hashes -r uv.txt \
 && uv venv /opt/lotus/venv
COPY pyproject.toml requirements.lock ./
RUN --mount=type=cache,target=/root/.cache/uv \
    uv pip install --python /opt/lotus/venv/bin/python --link-mode=copy --compile-bytecode \
      --require-hashes --requirements pyproject.toml --constraints requirements.lock \
      --extra s3 --extra postgres --extra server

FROM packages AS code
COPY README.md LICENSE ./
COPY trials trials
COPY orchestrator orchestrator
COPY dashboards dashboards
RUN uv pip install --python /opt/lotus/venv/bin/python --no-deps --compile-bytecode \
      --target /opt/lotus/code .

FROM base AS lotus
RUN useradd --uid 10001 --user-group --no-create-home --home-dir /home/lotus --shell /usr/sbin/nologin lotus \
 && install --directory --owner=lotus --group=lotus /home/lotus /cache /data /tmp/ray
COPY --from=packages /opt/lotus/venv /opt/lotus/venv
COPY --from=code /opt/lotus/code /opt/lotus/code
USER 10001:10001
WORKDIR /home/lotus
CMD ["lotus", "--help"]
