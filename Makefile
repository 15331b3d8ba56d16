# Two commands, from a clean clone: `make demo` trains and benchmarks, `make test` tests.
# Both set up .venv, build every kernel and then run. CNNKERN_CUDA=0 leaves CUDA out.
PYTHON ?= python3
BIN := .venv/bin
# CuTe, for tests/test_oracles.py alone. Its Python half, and what that requires, stay unused.
HEADERS := nvidia-cutlass==4.2.0
TIMED := tests/test_overhead.py
TEXTS := out/texts/vaderSentiment-0.5.zip

.PHONY: demo test examples build kill-check gpu-check lint format clean

demo: build
	$(BIN)/cnnkern demo

# What measures time runs alone. Then a file of tests on each core; threads that wait do so asleep,
# not to keep the other from working.
test: build
	$(BIN)/python -m pytest $(TIMED)
	OMP_WAIT_POLICY=passive $(BIN)/python -m pytest -n auto --dist loadfile --ignore $(TIMED)

# Every application, end to end; then open out/gallery/index.html.
examples: build $(TEXTS)
	$(BIN)/python tools/gallery.py

# Kills training ten times at random and resumes it: the same bits must come out.
kill-check: build
	$(BIN)/python tests/kill_training.py --kills 10

# The texts of examples/text_classification.py are in the source package alone.
$(TEXTS): .venv/requirements
	$(BIN)/python -m pip download --disable-pip-version-check --quiet --no-deps \
	    --no-build-isolation --dest $(@D) vaderSentiment==0.5

# On a machine with a GPU: builds for it, tests, sanitizes, and times against cuDNN.
gpu-check: .venv/installed
	$(BIN)/python tools/gpu_check.py

build: .venv/installed
	$(BIN)/python tools/build.py

.venv/requirements: requirements.txt
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --disable-pip-version-check --progress-bar on -r requirements.txt
	$(BIN)/python -m pip install --disable-pip-version-check --no-deps $(HEADERS)
	touch $@

# Editable: Python changes count at once, `make build` compiles what changed in csrc/.
.venv/installed: .venv/requirements pyproject.toml setup.py
	$(BIN)/python tools/build.py
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	touch $@

CPP := $(shell git ls-files 'csrc/*.h' 'csrc/*.cpp' 'csrc/*.cu' 'csrc/*.cuh' 'tests/*.h' 'tests/*.cpp' 'tests/*.cu' 'examples/*.cu')

lint: .venv/requirements
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/clang-format --dry-run -Werror $(CPP)

format: .venv/requirements
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .
	$(BIN)/clang-format -i $(CPP)

clean:
	rm -rf build dist demo cnnkern/*.so cnnkern/_build_info.json
