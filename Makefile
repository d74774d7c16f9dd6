# Two commands: `make run` trains the embedded default, `make test` runs all tests.
# PYTHON=python3.12 picks another interpreter; VENV=DIR another virtual environment.
PYTHON ?= python3.11
VENV ?= .venv
BIN := $(VENV)/bin
RUNS ?= runs/digits
METHODS := sgd rmsprop tag

.PHONY: run test lint format install

install: $(VENV)/.installed

# Reinstalled when the interpreter or the pinned versions change.
$(VENV)/.installed: requirements.txt pyproject.toml
	"$(PYTHON)" -m venv --clear "$(VENV)"
	"$(BIN)/python" -m pip install --quiet --disable-pip-version-check -r requirements.txt
	"$(BIN)/python" -m pip install --quiet --disable-pip-version-check --no-deps --editable .
	touch "$(VENV)/.installed"

run: install
	for method in $(METHODS); do \
	  "$(BIN)/python" launch.py "--config=configs/digits.py:$$method" "--workdir=$(RUNS)/$$method" || exit 1; \
	done
	"$(BIN)/python" -m tagjax.report.compare $(METHODS:%="$(RUNS)/%") --picture "$(RUNS)/comparison.png"

test: install
	"$(BIN)/python" -m pytest -n 2

lint: install
	"$(BIN)/ruff" check .
	"$(BIN)/ruff" format --check .

format: install
	"$(BIN)/ruff" check --fix .
	"$(BIN)/ruff" format .
