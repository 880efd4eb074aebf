# The two that matter:  make demo   make test
VENV ?= .venv
PYTHON ?= python3.11
BIN = $(VENV)/bin
export HF_HUB_DISABLE_TELEMETRY = 1

.PHONY: demo test open-clip round-trips attack lint types docs clip-check clean

$(VENV)/.installed: pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV) || python3 -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e .
	touch $@

$(VENV)/.dev: $(VENV)/.installed
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	touch $@

demo: $(VENV)/.installed
	$(BIN)/labelsieve demo

# one process a core, one thread each: threads of many processes would wait for one another
test: $(VENV)/.dev
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n auto

# torchvision wants a torch of its own (5.5 GB), so open_clip has an environment of its own
open-clip:
	test -x $(VENV)-open-clip/bin/python || $(PYTHON) -m venv $(VENV)-open-clip
	$(VENV)-open-clip/bin/python -m pip install --quiet --disable-pip-version-check torch==2.14.1 torchvision==0.29.1
	$(VENV)-open-clip/bin/python -m pip install --quiet --disable-pip-version-check -e '.[open-clip,backbones,lora,onnx]' pytest hypothesis
	$(VENV)-open-clip/bin/python -m pytest -m 'slow or not slow' tests/models/families/test_open_clip.py tests/classifiers/backbones

# the tools of other formats have an environment of their own, as they want other versions; what
# is not installed there, such as ultralytics (5.5 GB with its torch), is skipped and said
round-trips: $(VENV)/.dev
	test -x $(VENV)-tools/bin/python || $(PYTHON) -m venv $(VENV)-tools
	$(VENV)-tools/bin/python -m pip install --quiet --disable-pip-version-check pycocotools webdataset label-studio-sdk datumaro fiftyone
	$(BIN)/python tools/round_trips.py --tools $(VENV)-tools/bin/python

attack: $(VENV)/.dev
	$(BIN)/python -m pytest -m slow

# make clip-check DATA=folder [MODELS='--model "CLIP ViT-B/32=folder"']
clip-check: $(VENV)/.installed
	HF_HUB_OFFLINE= $(BIN)/python tools/clip_check.py --data-root "$(DATA)" $(MODELS)

lint: $(VENV)/.dev
	$(BIN)/ruff check . && $(BIN)/ruff format --check . && $(BIN)/lint-imports

types: $(VENV)/.dev
	$(BIN)/mypy

docs: $(VENV)/.dev
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[docs]'
	$(BIN)/sphinx-build -q -W docs docs/_build/html

clean:
	rm -rf $(VENV) labelsieve-demo labelsieve-run .pytest_cache .mypy_cache .ruff_cache
