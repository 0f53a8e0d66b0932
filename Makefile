# make demo and make test share one .venv and install once; the stamp is renewed when what is installed changes.
PYTHON ?= python3
BIN := .venv/bin
STAMP := .venv/installed
export HF_HUB_OFFLINE = 1
export TOKENIZERS_PARALLELISM = false

.PHONY: help setup build demo demo-utnet demo-hand3d weights test test-slow test-faults test-gpu lint clean

help:
	@echo "make demo   set up, make data, train Stage 1 and Stage 2, evaluate, run on a video, write outputs/demo/report.html"
	@echo "            (VIDEO=path: also run on a video of yours, BOXES=path with its hand boxes; FROM_SCRATCH=1: Stage 1 from random weights, not the package's)"
	@echo "make demo-utnet   frames with depth, UTNet, evaluation with and without depth, outputs/demo-utnet/report.html"
	@echo "make demo-hand3d  synthetic hands, pretraining, video with masks, weak labels four ways, outputs/demo-hand3d/report.html"
	@echo "make test   set up, run the tests"
	@echo "make weights REAL=path   train the network that comes with the package, some five hours; the real pictures lie in path"
	@echo "            (SKINS=path PANORAMAS=path: for drawn hands; QUICK=1: all in small, to see that it runs)"
	@echo "make test-faults   kill, starve and damage training runs for minutes: they must end as if nothing had happened"
	@echo "make test-gpu   on a machine with a GPU: steps and the golden run against the CPU's, throughput, memory and MFU"
	@echo "make build  a source distribution, and from it a wheel, into dist/"
	@echo "make test-slow, make lint, make clean"

setup: $(STAMP)

$(STAMP): pyproject.toml setup.py constraints.txt src/compat.py
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install -q -c constraints.txt setuptools wheel
	$(BIN)/python -m pip install -q -c constraints.txt torch
	$(BIN)/python -m pip install -q -c constraints.txt -e '.[test]'
	$(BIN)/python -c 'from tempohand.compat import main; main()'
	touch $(STAMP)

demo: $(STAMP)
	$(BIN)/python script/demo.py $(if $(VIDEO),--video $(VIDEO)) $(if $(BOXES),--boxes $(BOXES)) $(if $(FROM_SCRATCH),--from-scratch)

demo-utnet: $(STAMP)
	$(BIN)/python script/demo_utnet.py

demo-hand3d: $(STAMP)
	$(BIN)/python script/demo_hand3d.py

weights: $(STAMP)
	$(BIN)/python script/weights.py $(if $(REAL),--real $(REAL)) $(if $(SKINS),--skins $(SKINS)) $(if $(PANORAMAS),--panoramas $(PANORAMAS)) $(if $(QUICK),--quick)

test: $(STAMP)
	$(BIN)/python -m pytest -n logical --maxprocesses 4 --dist loadfile

test-slow: $(STAMP)
	$(BIN)/python -m pytest -m slow

test-faults: $(STAMP)
	$(BIN)/python -m pytest tests/faults -m "slow or not slow"

test-gpu: $(STAMP)
	$(BIN)/python -m pytest -rs -m gpu tests/gpu

build: $(STAMP)
	$(BIN)/python -m build --no-isolation

lint: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/ty check

clean:
	rm -rf outputs build dist *.egg-info
