# Everything a newcomer needs: `make demo`, `make test`. Each target sets up the virtual environment first.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
TYPING := build/typing/wsolbench

.PHONY: help demo test lint bench leaderboard clean

help:
	@echo "make demo         train cam, has, adl, inca on generated images and print a leaderboard (about 3 minutes)"
	@echo "make test         lint, then the whole test suite"
	@echo "make lint         ruff and mypy"
	@echo "make bench        benchmarks (pytest-benchmark): ratios measured side by side"
	@echo "make leaderboard  regenerate the tables under results/ from their records"

$(STAMP): pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(0 if sys.version_info >= (3, 11) else "wsolbench needs Python 3.11 or newer; this is " + sys.version.split()[0] + ". Set PYTHON=/path/to/python3.11.")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check -e ".[test]"
	@touch $(STAMP)

demo: $(STAMP)
	$(BIN)/wsolbench demo

test: lint
	$(BIN)/python -m pytest tests

lint: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	@rm -rf build/typing && mkdir -p $(TYPING)
	@cd $(TYPING) && ln -s ../../../wsolbench/* ../../../methods ../../../protocols .
	$(BIN)/mypy -p wsolbench

bench: $(STAMP)
	$(BIN)/python -m pytest tests -q -rfE --benchmark-only --benchmark-group-by=group --benchmark-columns=min,median,rounds

leaderboard: $(STAMP)
	$(BIN)/wsolbench leaderboard results --write --baseline cam

clean:
	rm -rf $(VENV) build *.egg-info
