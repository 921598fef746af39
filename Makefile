PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
export HF_HUB_OFFLINE ?= 1

.PHONY: help install demo test lint bench bench-gpu paper clean

help:
	@echo "make install   make .venv and install liteframe with everything it needs"
	@echo "make demo      the whole tiny pipeline, at most 15 minutes on two cores (SEED=N: another world)"
	@echo "make test      all tests, on the CPU, offline"
	@echo "make lint      ruff and mypy"
	@echo "make bench     the sweep again, on the finished demo (RUN=runs/tiny)"
	@echo "make bench-gpu latency at the paper's real shapes on this machine's GPU, within 9 minutes (PYTHON=python3: no install)"
	@echo "make paper     the paper's tables, figures and claims on three seeds; hours, in pieces (HOURS=2)"
	@echo "make clean     remove caches and builds; runs/ and .venv stay"

install: $(STAMP)

$(STAMP): pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --disable-pip-version-check -c constraints.txt -e '.[test,dev]'
	touch $@

demo: install
	$(BIN)/liteframe pipeline tiny $(if $(SEED),--seed $(SEED))

test: install
	$(BIN)/python -m pytest

lint: install
	$(BIN)/ruff check .
	$(BIN)/mypy

RUN ?= runs/tiny
bench: install
	$(BIN)/liteframe bench $(RUN)

# Needs no install: torch, transformers and timm of the machine's own Python do.
bench-gpu:
	PYTHONPATH=src $(PYTHON) -m liteframe.bench.real_size --device cuda --out benchmarks/records/latency_gpu.json

paper: install
	$(BIN)/liteframe paper $(if $(HOURS),--hours $(HOURS))

clean:
	rm -rf dist build .pytest_cache .mypy_cache .ruff_cache
	find src tests benchmarks -name __pycache__ -type d -prune -exec rm -rf {} +
