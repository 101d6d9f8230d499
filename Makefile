# `make demo` runs the bundled sweep `digits`; `make test` passes every check. Both build .venv once.
VENV   := .venv
PYTHON ?= python3
BIN    := $(VENV)/bin
READY  := $(VENV)/.ready

.PHONY: demo test lint types unit lock clean

demo: $(READY)
	$(BIN)/lotus run digits

test: $(READY) lint types unit

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(READY)
	$(BIN)/mypy

# One file after the other on each of two processes: most tests keep one core busy. By default xdist
# takes the files with the most tests first; the longest ones have few (tests/conftest.py orders them).
unit: $(READY)
	$(BIN)/pytest -n 2 --dist loadfile --no-loadscope-reorder

# uv installs the locked versions in seconds; pip would take minutes. Compiling costs half a minute
# once and halves what every process spends on importing torch and timm.
$(READY): requirements.lock pyproject.toml
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check uv
	$(BIN)/uv pip install --quiet --compile-bytecode --python $(BIN)/python \
		--require-hashes -r requirements.lock
	$(BIN)/uv pip install --quiet --python $(BIN)/python --no-deps --editable .
	touch $(READY)

# Versions and hashes only, no addresses.
lock:
	$(BIN)/uv pip compile pyproject.toml --extra s3 --extra postgres --extra onnx --extra test --universal --python-version 3.11 \
		--generate-hashes --no-emit-index-url --no-emit-find-links --no-annotate --no-header \
		--quiet --output-file requirements.lock

clean:
	rm -rf $(VENV) lotus build dist *.egg-info
