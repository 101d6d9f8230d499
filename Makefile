# `make demo` runs the bundled sweep `digits`; `make test` passes every check. Both build .venv once.
VENV   := .venv
PYTHON ?= python3
BIN    := $(VENV)/bin
READY  := $(VENV)/.ready

# A cluster of containers: CPU workers by default, `make up PROFILE=gpu` for GPUs.
PROFILE ?= cpu
COMPOSE := docker compose --profile $(PROFILE)

.PHONY: demo test lint types unit lock pin clean secrets up down

demo: $(READY)
	$(BIN)/lotus run digits

test: $(READY) lint types unit

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(READY)
	$(BIN)/mypy

# One file after the other on each of four processes: tests of servers mostly wait. By default xdist
# takes the files with the most tests first; the longest ones have few (tests/conftest.py orders them).
unit: $(READY)
	$(BIN)/pytest -n 4 --dist loadfile --no-loadscope-reorder

# uv installs the locked versions in seconds; pip would take minutes. Compiling costs half a minute
# once and halves what every process spends on importing torch and timm.
$(READY): requirements.lock pyproject.toml orchestrator/deploy/uv.txt
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes \
		-r orchestrator/deploy/uv.txt
	$(BIN)/uv pip install --quiet --compile-bytecode --python $(BIN)/python \
		--require-hashes -r requirements.lock
	$(BIN)/uv pip install --quiet --python $(BIN)/python --no-deps --editable .
	touch $(READY)

# Versions and hashes only, no addresses. The version of uv stands in its file.
lock:
	grep '^uv==' orchestrator/deploy/uv.txt | tr -d ' \\' | $(BIN)/uv pip compile - --python-version 3.11 \
		--generate-hashes --no-emit-index-url --no-emit-find-links --no-annotate --no-header \
		--quiet --output-file $(VENV)/uv.txt
	(head -1 orchestrator/deploy/uv.txt; cat $(VENV)/uv.txt) > $(VENV)/uv.new
	mv $(VENV)/uv.new orchestrator/deploy/uv.txt
	$(BIN)/uv pip compile pyproject.toml --extra s3 --extra postgres --extra onnx --extra server \
		--extra test --universal --python-version 3.11 \
		--generate-hashes --no-emit-index-url --no-emit-find-links --no-annotate --no-header \
		--quiet --output-file requirements.lock

# Images by digest, as the registry has them now: a change to look at and to commit.
pin:
	$(PYTHON) orchestrator/deploy/pin.py

# .env with random secrets, mode 600; one that is there gets those that it lacks.
secrets:
	$(PYTHON) orchestrator/deploy/new_secrets.py orchestrator/deploy/env.example .env

# Returns when every service is healthy.
up:
	$(COMPOSE) up --detach --build --wait
	@echo "Ray http://127.0.0.1:8265  MLflow http://127.0.0.1:5000  Grafana http://127.0.0.1:3000"
	@echo "A sweep: docker compose exec head lotus run digits --address auto"

# Everything stops; what was computed stays in the volumes.
down:
	docker compose --profile cpu --profile gpu down

clean:
	rm -rf $(VENV) lotus build dist *.egg-info
