# Two commands to know: `make demo` shows the whole of it, `make test` proves it. Both need Python 3.10 or later.
PYTHON ?= python3
# Where it is set, each of the many processes that tests start would compile all modules for itself.
unexport PYTHONDONTWRITEBYTECODE
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/ready
BEDROOMS := demo/rooms/Airbnb Data/Test Data/bedroom

.PHONY: demo test attack check lint types images clean

demo: $(READY)
	rm -rf demo
	$(BIN)/samespace rooms demo/rooms --photos 240 --test-photos 80
	@echo
	@# A real training run stops where ImageNet weights cannot be fetched; the demo goes on without.
	@if $(BIN)/python -m samespace.model.backbone mobilenet_v3_large; then weights=imagenet; else weights=none; \
	  echo "the demo goes on with random weights, which do for drawn rooms"; fi; \
	set -x; $(BIN)/python model_def.py --data demo/rooms --epochs 5 --output demo/model --config hyperparameters.weights=$$weights
	@echo
	$(BIN)/samespace evaluate demo/model demo/rooms --plot demo/precision-recall.png
	@echo
	$(BIN)/samespace compare --model demo/model "$(BEDROOMS)/kyoto_1084_1.jpg" "$(BEDROOMS)/kyoto_1084_2.jpg"
	$(BIN)/samespace compare --model demo/model "$(BEDROOMS)/kyoto_1084_1.jpg" "$(BEDROOMS)/boston_1088_1.jpg"
	@echo
	@echo "Look at demo/rooms (the photos), demo/model (what you take away), demo/precision-recall.png (how good it is)."

# A process more than cores, up to four, as servers and browsers are waited for a fifth of the time; each takes whole
# files. Those of few tests would come last, but may take longest.
PROCESSES ?= $(shell $(PYTHON) -c 'import os; print(min(4, 1 + (os.cpu_count() or 1)))')
test: $(READY)
	$(BIN)/python -m pytest -p xdist --numprocesses $(PROCESSES) --dist loadfile --no-loadscope-reorder

# Faults, spoilt files and odd words, for an hour; ATTACK_SEED=2 makes others.
ATTACK_SECONDS ?= 3600
attack: $(READY)
	ATTACK=$(ATTACK_SECONDS) $(BIN)/python -m pytest tests/attack

check: $(READY)
	@MAKE='$(MAKE)' .ci/timed lint types test

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(READY)
	$(BIN)/mypy

images: $(READY)
	$(BIN)/python images/draw.py

$(READY): pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[dev]'
	touch $@

clean:
	rm -rf demo .mypy_cache .ruff_cache .pytest_cache .hypothesis
