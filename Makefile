PYTHON ?= $(shell command -v python3.11 || command -v python3)
PY := .venv/bin/python

.PHONY: setup demo test test-slow benchmark-peers benchmark-preprocessing benchmark-ranking benchmark-matching-peers benchmark-matching benchmark-serving benchmark-training benchmark-optimizers benchmark-from-disk lint clean

setup: .venv/.installed

.venv/.installed: requirements.lock setup.py
	@test -n "$(PYTHON)" || { echo "error: no python3.11 found. Install Python 3.11 or name one: make setup PYTHON=/path/to/python3.11"; exit 1; }
	@test -x $(PY) || $(PYTHON) -m venv .venv
	@echo "Installing the pinned environment into .venv (about 3 minutes, once) ..."
	@$(PY) -m pip install --quiet --disable-pip-version-check -r requirements.lock
	@$(PY) -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $@

demo: .venv/.installed  ## Fetch MovieLens-100k, preprocess, train NFM, evaluate, export, verify.
	@$(PY) -m trainer.task --model nfm

test: .venv/.installed  ## On two cores; tracing graphs is Python, and takes one.
	@$(PY) -m pytest --numprocesses 2 --dist loadfile

test-slow: .venv/.installed  ## The tests marked slow alone.
	@$(PY) -m pytest -m slow

benchmark-peers: .venv-peers/.installed  ## Other programs that benchmarks run, in an environment of their own.

.venv-peers/.installed: benchmarks/peers/requirements.txt
	@test -x .venv-peers/bin/python || $(PYTHON) -m venv .venv-peers
	@.venv-peers/bin/python -m pip install --quiet --disable-pip-version-check -r benchmarks/peers/requirements.txt
	@touch $@

benchmark-preprocessing: .venv/.installed benchmark-peers  ## The table in benchmarks/preprocessing.md; half an hour on two idle cores.
	@$(PY) -m benchmarks.preprocessing

benchmark-ranking: .venv/.installed benchmark-peers  ## The table in benchmarks/ranking.md; some six hours on two cores, in any number of parts.
	@$(PY) -m benchmarks.ranking

benchmark-matching-peers: .venv-peers-matching/.installed  ## RecBole, in an environment of its own.

.venv-peers-matching/.installed: benchmarks/peers/matching-requirements.txt
	@test -x .venv-peers-matching/bin/python || $(PYTHON) -m venv .venv-peers-matching
	@.venv-peers-matching/bin/python -m pip install --quiet --disable-pip-version-check -r benchmarks/peers/matching-requirements.txt
	@touch $@

benchmark-matching: .venv/.installed benchmark-matching-peers  ## The table in benchmarks/matching.md, in any number of parts.
	@$(PY) -m benchmarks.matching

benchmark-serving: .venv/.installed  ## The tables in benchmarks/serving.md; twenty minutes on two idle cores.
	@$(PY) -m benchmarks.serving

benchmark-training: .venv/.installed benchmark-peers  ## The tables in benchmarks/training.md; half an hour on two idle cores, in any number of parts.
	@$(PY) -m benchmarks.training

benchmark-optimizers: .venv/.installed  ## The tables in benchmarks/optimizers.md; twelve minutes on two idle cores, and the data once.
	@$(PY) -m benchmarks.optimizers

benchmark-from-disk: .venv/.installed  ## The tables in benchmarks/from_disk.md; three minutes on two idle cores.
	@$(PY) -m benchmarks.from_disk

lint: .venv/.installed
	@$(PY) -m ruff check .
	@$(PY) -m mypy

clean:
	rm -rf .venv .venv-peers .venv-peers-matching build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
