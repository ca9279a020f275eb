# The two commands of a user: `make demo` and `make test`. The rest is for developers.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready

# quick takes half an hour on 2 cores, standard up to 8 hours, full is for a cluster or a GPU.
BUDGET ?= quick

.PHONY: demo test lint bench results clean

demo: $(READY)
	$(BIN)/passband study run studies/defocus.yaml

test: $(READY)
	$(BIN)/python -m pytest

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

bench: $(READY)
	$(BIN)/python benchmarks/all.py

$(READY): pyproject.toml constraints.txt tools/make_venv.sh
	PYTHON=$(PYTHON) sh tools/make_venv.sh $(VENV)
	$(BIN)/python -m pip install --disable-pip-version-check --quiet -c constraints.txt -e '.[dev]'
	touch $(READY)

results: $(READY)
	$(BIN)/python -m replication run --budget $(BUDGET)

clean:
	rm -rf $(VENV) runs
