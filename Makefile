# Two commands: `make run` trains the embedded default, `make test` runs all tests.
# PYTHON=python3.12 picks another interpreter; VENV=DIR another virtual environment.
# python3.11 if there is one, else python3.
PYTHON ?= $(if $(shell command -v python3.11),python3.11,python3)
VENV ?= .venv
BIN := $(VENV)/bin
RUNS ?= runs/digits
METHODS := sgd rmsprop tag
QUICKLY := TAGJAX_TESTS_COMPILE_QUICKLY=1
# Half of the tests for each worker, so that what a module's tests share is made once; whoever is
# ready first takes from the other.
PYTEST := "$(BIN)/python" -m pytest -n 2 --dist worksteal
# Modules are parsed once, and not by each of the processes that the tests start.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: run test test-product fuzz drill soak lint format install

# Its name holds the interpreter's: another PYTHON makes the environment anew.
INSTALLED := $(VENV)/.installed-$(notdir $(PYTHON))

install: $(INSTALLED)

$(INSTALLED): requirements.txt pyproject.toml
	"$(PYTHON)" -m venv --clear "$(VENV)"
	"$(BIN)/python" -m pip install --quiet --disable-pip-version-check -r requirements.txt
	"$(BIN)/python" -m pip install --quiet --disable-pip-version-check --no-deps --editable .
	touch "$(INSTALLED)"

run: install
	for method in $(METHODS); do \
	  "$(BIN)/python" launch.py "--config=configs/digits.py:$$method" "--workdir=$(RUNS)/$$method" || exit 1; \
	done
	"$(BIN)/python" -m tagjax.report.compare $(METHODS:%="$(RUNS)/%") --picture "$(RUNS)/comparison.png"

# Two parts: what mostly compiles is compiled quickly, the rest as users' programs are.
test: install
	$(PYTEST) -m "not compiling and not product"
	$(QUICKLY) $(PYTEST) -m "compiling and not product" tests

# Every composition of methods, of which `test` runs some, and what takes longest.
test-product: install
	$(QUICKLY) $(PYTEST) -m product tests

# Minutes of damaged files for the readers of strangers' files; what is found goes into the corpus.
fuzz: install
	TAGJAX_FUZZ_EXAMPLES=3000 "$(BIN)/python" -m pytest -n 2 --timeout 3600 tests/fuzz

# The attacks, faults of the disk and losses of power; then the tables of docs/attacks.md and
# docs/reliability.md. An hour of the processor.
drill: install
	"$(BIN)/python" tests/drill/drill.py --out=docs/figures/drill.json
	"$(BIN)/python" tests/drill/faults.py --every=3 --out=docs/figures/faults.json
	"$(BIN)/python" tests/drill/attacks.py --suite

# Thousands of small tasks with kills all the time: memory, files and seconds must not grow.
soak: install
	"$(BIN)/python" tests/drill/soak.py

lint: install
	"$(BIN)/ruff" check .
	"$(BIN)/ruff" format --check .
	"$(BIN)/mypy"

format: install
	"$(BIN)/ruff" check --fix .
	"$(BIN)/ruff" format .
