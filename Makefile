# The commands of a working copy. They need git, make and Python 3.11 or 3.12; everything else goes into .venv.
#
#   make demo     set up, train a small network on a real brain and apply it to another one (see README.md)
#   make test     set up, check the style, the import contracts and the types, run the tests

PYTHON ?= python3
VENV := .venv
VENV_PYTHON := $(VENV)/bin/python
REQUIREMENTS := Testing/requirements.txt
INSTALLED := $(VENV)/installed.stamp
# Where the packages lie, for tools that are not run through pytest (pyproject.toml tells pytest the same).
SOURCE_PATH := MedDeepExtension:SegmentModule:RegisterModule:DetectModule:ClassifyModule

# How tests run beside each other: one file after the other in each process.
BESIDE := --numprocesses auto --maxprocesses 4 --dist loadfile

.PHONY: help setup demo test coverage test-slow lint benchmark clean distclean
.DEFAULT_GOAL := help

help:
	@echo "make setup      create $(VENV) with all packages; done again only when $(REQUIREMENTS) changes"
	@echo "make demo       train and apply a network on real images; results in demo-output/"
	@echo "make test       lint and the quick tests"
	@echo "make coverage   the quick tests, and which lines they ran"
	@echo "make test-slow  the tests that train for minutes"
	@echo "make lint       ruff, the import contracts and the types"
	@echo "make benchmark  speed and memory, printed as ratios"
	@echo "make clean      remove what the commands made, but keep $(VENV); distclean removes that too"

setup: $(INSTALLED)

# The stamp is written last: an interrupted installation is taken up again instead of being taken for done.
$(INSTALLED): $(REQUIREMENTS)
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info[:2] not in ((3, 11), (3, 12)))' || \
	  { echo "Python 3.11 or 3.12 is needed; name one with: make PYTHON=/path/to/python3.12 $(MAKECMDGOALS)"; exit 2; }
	$(PYTHON) -m venv $(VENV)
	$(VENV_PYTHON) -m pip install --disable-pip-version-check --requirement $(REQUIREMENTS)
	touch $(INSTALLED)

demo: setup
	$(VENV_PYTHON) Testing/Demo/run_demo.py --output demo-output

# First all tests that run beside each other, then those that measure time or memory, one after the other. Both sessions
# run whatever the first one finds, unless it is interrupted (2); the summary at the end counts both, and the command fails
# if either has failed.
RESULTS := build/test-results.json

test: lint
	@rm -f $(RESULTS); failed=0; \
	$(VENV_PYTHON) -m pytest -m "not alone and not slow" $(BESIDE) --durations=25 --keep-results=$(RESULTS) || failed=$$?; \
	test $$failed -ne 2 || exit 2; \
	$(VENV_PYTHON) -m pytest -m "alone and not slow" --after=$(RESULTS) || failed=1; \
	exit $$failed

# Apart, since counting lines doubles the time of some tests, and others measure time.
coverage: setup
	-$(VENV_PYTHON) -m pytest --cov --cov-report= -m "not alone and not slow" $(BESIDE)
	$(VENV_PYTHON) -m pytest --cov --cov-append --cov-report=term -m "alone and not slow"

test-slow: setup
	$(VENV_PYTHON) -m pytest -m slow

lint: setup
	@$(VENV_PYTHON) -m ruff check --quiet .
	@contracts=$$(PYTHONPATH=$(SOURCE_PATH) $(VENV)/bin/lint-imports --no-logo) || { echo "$$contracts"; exit 1; }
	@$(VENV)/bin/basedpyright

benchmark: setup
	@for script in Testing/Benchmarks/benchmark_*.py; do \
	  echo "== $$script"; PYTHONPATH=$(SOURCE_PATH):Testing $(VENV_PYTHON) "$$script" || exit 1; \
	done

clean:
	rm -rf build demo-output .coverage .pytest_cache .ruff_cache .import_linter_cache
	find MedDeepExtension SegmentModule RegisterModule DetectModule ClassifyModule Testing -name __pycache__ -type d -prune -exec rm -rf {} +

distclean: clean
	rm -rf $(VENV)
