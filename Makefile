# make demo, make test: each does all the set-up on a machine that has only python3.
PYTHON ?= python3
BIN := .venv/bin

.PHONY: install demo test check docs

install: .venv/.installed

.venv/.installed: pyproject.toml constraints.txt
	@echo "installing into .venv: a few minutes the first time"
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet -c constraints.txt -e '.[train,calibrate,dev]'
	touch $@

demo: install
	$(BIN)/ssd-edge demo

check: install
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	@# The newest numpy for Python 3.10 has types too vague for --strict.
	@if $(BIN)/python -c 'import sys; sys.exit(sys.version_info < (3, 11))'; then echo $(BIN)/mypy; $(BIN)/mypy; \
	else echo "mypy needs Python 3.11 or later: skipped"; fi
	$(BIN)/lint-imports

test: check
	$(BIN)/python -m pytest

docs: install
	$(BIN)/python docs/generate_cli.py
