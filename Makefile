# Both commands set up everything they need in .venv on a fresh machine.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
export PIP_DISABLE_PIP_VERSION_CHECK := 1
# Test files run in so many processes at once, each with one computing thread; WORKERS=0 runs them one by one.
WORKERS ?= 2

.PHONY: serve test quick lint bench soak prove-image clean

serve: $(VENV)/serve.stamp
	$(BIN)/tidar serve $(ARGS)

test: $(VENV)/test.stamp lint
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n $(WORKERS) --dist loadfile

quick: $(VENV)/test.stamp
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n $(WORKERS) --dist loadfile -m "not slow"

lint: $(VENV)/test.stamp
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

bench: $(VENV)/serve.stamp
	$(BIN)/tidar bench throughput $(ARGS)

soak: $(VENV)/test.stamp
	$(BIN)/python -m bench.soak $(ARGS)

# As root on Debian with buildah and debootstrap: every step of the Dockerfile, and the server that comes out of it.
prove-image:
	$(PYTHON) docker/prove.py $(ARGS)

$(BIN)/python:
	$(PYTHON) -m venv $(VENV)

$(VENV)/serve.stamp: pyproject.toml constraints.txt | $(BIN)/python
	$(BIN)/python -m pip install -q -c constraints.txt -e .
	@touch $@

$(VENV)/test.stamp: pyproject.toml constraints.txt | $(BIN)/python
	$(BIN)/python -m pip install -q -c constraints.txt -e ".[test]"
	@touch $@ $(VENV)/serve.stamp

clean:
	rm -rf $(VENV) build *.egg-info
