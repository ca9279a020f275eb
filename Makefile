# For users: `make demo` and `make test`. The rest is for developers.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready

# Of `make results`: quick takes half an hour on 2 cores, standard up to 8 hours; full is for a cluster or a GPU.
BUDGET ?= quick

# Of `make docs` and `make figures`: --committed keeps the committed picture of the demo where runs/defocus is missing, instead of running the demo.
FIGURES ?=

.PHONY: demo test test-all test-plugins lint figures docs bench results clean

demo: $(READY)
	$(BIN)/passband study run studies/defocus.yaml

# One worker a core, one thread a worker; the tests of a module stay together and share its fixtures.
PYTEST := OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n auto --dist loadfile --no-loadscope-reorder

test: $(READY)
	$(PYTEST) -m "not slow and not cluster and not browser"

test-all: $(READY)
	$(PYTEST)

# napari and HyperSpy are large, so they are installed for these tests alone. No window is needed.
test-plugins: $(READY)
	$(BIN)/python -m pip install --disable-pip-version-check --quiet -c constraints.txt -e '.[napari]' 'napari[pyqt6]' hyperspy
	$(BIN)/python -m pytest tests/napari_plugin tests/test_programs.py

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

figures: $(READY)
	$(BIN)/python tools/make_figures.py $(FIGURES)

docs: figures
	$(BIN)/python -m sphinx -W --keep-going -q -b html docs docs/_build/html
	@echo "docs/_build/html/index.html"

bench: $(READY)
	$(BIN)/python benchmarks/all.py

$(READY): pyproject.toml constraints.txt tools/make_venv.sh
	PYTHON=$(PYTHON) sh tools/make_venv.sh $(VENV)
	$(BIN)/python -m pip install --disable-pip-version-check --quiet -c constraints.txt -e '.[dev]'
	touch $(READY)

results: $(READY)
	$(BIN)/python -m replication run --budget $(BUDGET)

clean:
	rm -rf $(VENV) runs docs/_build docs/gallery
