PYTHON ?= python3
BIN := .venv/bin

.PHONY: setup quickstart test test-slow check bench-setup bench-cpu bench-gpu

setup: .venv/ready

.venv/ready: pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --upgrade pip
	$(BIN)/pip install --quiet -c constraints.txt -e ".[dev]"
	touch .venv/ready

quickstart: setup
	$(BIN)/ptft run quickstart

test: setup
	$(BIN)/python -m pytest

test-slow: setup
	$(BIN)/python -m pytest -m "slow and not gpu"

check: setup
	$(BIN)/ruff check ptft tests benchmarks
	$(BIN)/ruff format --check ptft tests benchmarks
	$(BIN)/mypy

# lm_eval, minicons and what else ptft is measured against.
bench-setup: setup
	$(BIN)/pip install --quiet -c constraints.txt -e ".[dev,bench]"

# DATA=FOLDER with corpora/ and tasks/, MINILM=FOLDER with its checkpoint: what cannot be measured without it is left out, and named.
bench-cpu: bench-setup
	$(BIN)/python benchmarks/quickstart.py
	$(BIN)/python benchmarks/speed_cpu.py $(if $(DATA),--data $(DATA))
	$(BIN)/python benchmarks/finetuning.py $(if $(DATA),--data $(DATA)) $(if $(MINILM),--model $(MINILM))
	$(BIN)/python benchmarks/prompting_parity.py

bench-gpu: setup
	$(BIN)/python benchmarks/speed_gpu.py --data $(DATA)
	$(BIN)/python benchmarks/real_text.py --only english-mini --data $(DATA)
