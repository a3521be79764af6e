# make setup   installs into .venv (once; again when the requirements change), by uv where it is
# make fit     trains the embedded recipe; options in ARGS: make fit ARGS="--epochs 3"
# make test    every test, the slow ones too, three at a time; options for pytest in ARGS
#              replace that: make test ARGS="-k gcn -x"
# make test-fast  those that take less than about half a second each
# make test-jax   the models' tests on JAX, with TensorFlow out of reach
# make mutants  breaks the code in one place after another, and asks whether the tests notice
# make lint    what .ci/run asks of the code's form: style, types, the order of the imports
# make docs    builds the documentation into build/docs/index.html; warnings are errors
# make docs-map  draws docs/architecture.svg from the imports
# make wheel   builds the package into dist/
# make wheel-test  installs that into a new environment without extras, and uses it there

PYTHON ?= python3
ARGS ?=
WORKERS := -n 3 --dist loadfile --no-loadscope-reorder
VENV := .venv
STAMP := $(VENV)/.installed
UV ?= $(shell command -v uv)
INSTALL = $(if $(UV),$(UV) pip install --python $(VENV)/bin/python,$(VENV)/bin/python -m pip install)
# Without bytecode each process would compile the tests and the packages anew.
PYTEST := PYTHONDONTWRITEBYTECODE= TF_CPP_MIN_LOG_LEVEL=2 TF_ENABLE_ONEDNN_OPTS=1 MPLBACKEND=Agg $(VENV)/bin/python -m pytest

.PHONY: setup fit test test-fast test-jax mutants lint docs docs-map wheel wheel-test
.DELETE_ON_ERROR:

setup: $(STAMP)

# The stamp is written last: an install that was interrupted is taken up again, not for finished.
$(STAMP): requirements.txt pyproject.toml
	@$(PYTHON) -c 'import sys; (3, 11) <= sys.version_info < (3, 14) or sys.exit("Python 3.11, 3.12 or 3.13 is needed, and $(PYTHON) is " + sys.version.split()[0] + ": name another one with make PYTHON=...")'
	rm -f $(STAMP)
	$(PYTHON) -m venv $(VENV)
	$(INSTALL) --require-hashes -r requirements.txt
	$(INSTALL) --no-deps --no-build-isolation -e .
	touch $(STAMP)

fit: $(STAMP)
	$(VENV)/bin/python -m gcn_keras.fit $(ARGS)

# A file stays on one worker: what its tests share is made once.
test: $(STAMP)
	$(PYTEST) tests --durations 15 $(or $(ARGS),$(WORKERS))

test-fast: $(STAMP)
	$(PYTEST) tests -m "not slow" $(or $(ARGS),$(WORKERS))

# Compiling takes most of the time of what is computed once.
test-jax: $(STAMP)
	KERAS_BACKEND=jax JAX_DISABLE_MOST_OPTIMIZATIONS=1 PYTHONPATH=tests/support $(PYTEST) \
		-p without_tensorflow -m "not slow or jax" tests/gcn_keras/models tests/gcn_keras/inference/test_keras_file.py \
		$(or $(ARGS),$(WORKERS))

mutants: $(STAMP)
	$(VENV)/bin/python tests/support/mutants.py $(ARGS)

lint: $(STAMP)
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/mypy
	$(VENV)/bin/python docs/architecture.py

docs: $(STAMP)
	$(VENV)/bin/python -m sphinx -q -W --keep-going -b html -c docs . build/docs

docs-map: $(STAMP)
	$(VENV)/bin/python docs/draw_map.py

# build/lib would hand on the modules of an earlier build.
wheel: $(STAMP)
	rm -rf build/lib dist
	$(VENV)/bin/python -m pip wheel -q --no-deps --no-build-isolation --wheel-dir dist .

wheel-test: wheel
	$(VENV)/bin/python tests/support/try_wheel.py dist/*.whl
