# `make help` lists the targets by the lines that begin with ##. Those that need it build .venv once.
VENV   := .venv
PYTHON ?= python3
BIN    := $(VENV)/bin
READY  := $(VENV)/.ready

# Where nothing is written, each of some hundred processes of a test run compiles our code again.
unexport PYTHONDONTWRITEBYTECODE

# A cluster of containers: CPU workers by default, `make up PROFILE=gpu` for GPUs.
PROFILE ?= cpu
COMPOSE := docker compose --profile $(PROFILE)

.PHONY: demo test check lint types unit help lock pin clean secrets up down vega

## Run the bundled sweep `digits` and write its report.
demo: $(READY)
	$(BIN)/lotus run digits

## Everything that must hold: lint, types and all tests.
# Types beside the tests: the long ones wait for Ray most of their time.
test: $(READY) lint
	$(MAKE) --no-print-directory -j 2 types unit

# For the inner loop: what needs no Ray, no server and no second machine, and is done at once.
## Lint, types and the quick tests that need no server.
check: $(READY) lint types
	$(BIN)/pytest -n 2 --dist loadfile --no-loadscope-reorder -m "not slow and not server"

## Lint and formatting.
lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

## Types.
types: $(READY)
	$(BIN)/mypy

## All tests, without lint and types.
# One file after the other on each of four processes, for two cores. Three take the long files, which
# start Ray or servers and wait for a third of their time; the fourth takes the short ones, which
# compute. By default xdist takes the files with the most tests first; the longest have few
# (tests/conftest.py). Asserts are rewritten once, for all of them, while mypy has the other core;
# what is wrong with a file, the run itself says.
unit: $(READY)
	$(BIN)/pytest --collect-only -qq >/dev/null || true
	$(BIN)/pytest -n 4 --dist loadfile --no-loadscope-reorder

## List the targets.
help:
	@awk '/^## / {about = substr($$0, 4)} \
		/^[a-z]+:/ && about {printf "make %-9s %s\n", substr($$1, 1, index($$1, ":") - 1), about; about = ""}' \
		$(MAKEFILE_LIST)

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

## Resolve the dependencies again and write requirements.lock.
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

## Write the digests of all images into the files.
# As the registry has them now: a change to look at and to commit.
pin:
	$(PYTHON) orchestrator/deploy/pin.py

## Make the script bundle that draws figures again, after a change of vl-convert.
vega: $(READY)
	$(BIN)/python -m dashboards.vega

## Make .env with random secrets, or add those that it lacks.
secrets:
	$(PYTHON) orchestrator/deploy/new_secrets.py orchestrator/deploy/env.example .env

## Start a cluster of containers; `make up PROFILE=gpu` for GPUs.
# Returns when every service is healthy.
up:
	$(COMPOSE) up --detach --build --wait
	@echo "Ray http://127.0.0.1:8265  MLflow http://127.0.0.1:5000  Grafana http://127.0.0.1:3000"
	@echo "A sweep: docker compose exec head lotus run digits --address auto"

## Stop the cluster; what was computed stays in its volumes.
down:
	docker compose --profile cpu --profile gpu down

## Remove .venv, builds and the output folder `lotus`.
clean:
	rm -rf $(VENV) lotus build dist *.egg-info
