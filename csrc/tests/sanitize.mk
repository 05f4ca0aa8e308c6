# The engine under test, without and with the tools that see what tests cannot: one command each, from a fresh clone.
#
#   make cxx-test   the C++ unit tests, as shipped
#   make asan       AddressSanitizer + UBSan: the C++ unit tests with a look for leaks, then the Python tests of loader and
#                   files on an instrumented extension
#   make tsan       ThreadSanitizer: the C++ unit tests, and those Python tests that use threads
#   make fuzz       libFuzzer on open + read for FUZZ_SECONDS, checksums repaired so that it gets past them. Needs clang with
#                   its runtime (Debian, Ubuntu: apt install clang-19 libclang-rt-19-dev); finds are left in build/fuzz
#
# Everything is built under build/; the extension in $(VENV) stays as it is. asan and tsan use g++ and the runtimes that come
# with it. A find ends the command with an error and a report.
BUILD ?= build
SANITIZE_CXX ?= g++
# Not the daemon thread that Python unwinds at its end: pybind11 lets it through by naming an exception that is not there, which
# UBSan reports.
ASAN_TESTS ?= load block -k "not daemon"
# Not the contract tests: they run torch's worker processes, which start threads after a fork; ThreadSanitizer cannot.
TSAN_TESTS ?= $(addprefix load/test_,dataloader.py resume.py ranks.py plans.py on_error.py loader_device.py padding.py monitor.py \
	asynchronous.py transform.py balance.py) block/test_dataset.py --deselect "tests/load/test_transform.py::test_iterable_dataset[2]"
FUZZ_SECONDS ?= 60
FUZZ_CXX ?= $(firstword $(foreach v,19 20 21 18 17 16 15 14,$(shell command -v clang++-$(v))) $(shell command -v clang++))

comma := ,
PURELIB := -c 'import sysconfig; print(sysconfig.get_path("purelib"))'

.PHONY: cxx-test asan tsan fuzz

# $(call cxx,folder,compiler,options): configure and build the C++ targets in build/folder.
cxx = mkdir -p $(BUILD)/$(1) && $(BIN)/cmake -S . -B $(BUILD)/$(1) -G Ninja -DCMAKE_MAKE_PROGRAM=$(abspath $(BIN)/ninja) \
	-DCMAKE_BUILD_TYPE=RelWithDebInfo -DPython_EXECUTABLE=$(abspath $(BIN)/python) -DCMAKE_CXX_COMPILER=$(2) $(3) \
	> $(BUILD)/$(1)/configure.log && $(BIN)/ninja -C $(BUILD)/$(1)

# $(call instrumented,folder,sanitizers): the package with an instrumented extension in build/folder/site, and a Python in
# build/folder/venv that finds it before the packages of $(VENV). Not PYTHONPATH: the editable install in $(VENV) puts a
# finder in front of every path, in child processes too, and nobody would notice that another extension is tested.
define instrumented
CXX=$(SANITIZE_CXX) $(BIN)/pip install --quiet --upgrade --no-deps --no-build-isolation --target $(BUILD)/$(1)/site . \
	-C build-dir=$(BUILD)/$(1)/extension -C cmake.build-type=RelWithDebInfo -C cmake.define.FASTLOAD_SANITIZE=$(2)
$(BIN)/python -m venv --without-pip $(BUILD)/$(1)/venv
printf '%s\n' "$(abspath $(BUILD)/$(1)/site)" "$$($(BIN)/python $(PURELIB))" \
	> "$$($(BUILD)/$(1)/venv/bin/python $(PURELIB))/instrumented.pth"
endef

# $(call pytest,folder,tests): Python tests with that Python, once it was seen to import the instrumented extension. Not run from
# the root, where the source folder would be imported. A thread that hangs is shown after faulthandler_timeout.
pytest = cd tests && $(abspath $(BUILD))/$(1)/venv/bin/python -c "from fastload import _core; print(_core.__file__)" \
	| grep -F "$(abspath $(BUILD))/$(1)/site/" \
	&& $(abspath $(BUILD))/$(1)/venv/bin/python -m pytest -p no:cacheprovider -c ../pyproject.toml --rootdir .. $(2)

preload = $(foreach library,$(1),$(shell $(SANITIZE_CXX) -print-file-name=$(library)))

cxx-test: $(VENV)/.installed
	$(call cxx,cxx,$(CXX),-DFASTLOAD_CXX_TESTS=ON)
	$(BUILD)/cxx/fastload_tests

# No leaks are looked for where Python runs, which keeps memory on purpose. libstdc++ is loaded first, or exceptions cannot
# cross from C++ into Python.
asan: export ASAN_OPTIONS = detect_leaks=0:allocator_may_return_null=1
asan: export UBSAN_OPTIONS = halt_on_error=1:print_stacktrace=1
asan: $(VENV)/.installed
	$(call cxx,asan/cxx,$(SANITIZE_CXX),-DFASTLOAD_CXX_TESTS=ON -DFASTLOAD_SANITIZE=address$(comma)undefined)
	ASAN_OPTIONS=$$ASAN_OPTIONS:detect_leaks=1 $(BUILD)/asan/cxx/fastload_tests
	$(call instrumented,asan,address$(comma)undefined)
	export LD_PRELOAD="$(call preload,libasan.so libstdc++.so)"; $(call pytest,asan,$(ASAN_TESTS))

# torch, numpy and Python itself are not instrumented: what they do among themselves is ignored, not suppressed by name.
# die_after_fork=0: torch's worker processes start threads.
tsan: export TSAN_OPTIONS = exitcode=66:allocator_may_return_null=1:second_deadlock_stack=1:ignore_noninstrumented_modules=1:die_after_fork=0
tsan: $(VENV)/.installed
	$(call cxx,tsan/cxx,$(SANITIZE_CXX),-DFASTLOAD_CXX_TESTS=ON -DFASTLOAD_SANITIZE=thread)
	$(BUILD)/tsan/cxx/fastload_tests
	$(call instrumented,tsan,thread)
	export LD_PRELOAD="$(call preload,libtsan.so)"; $(call pytest,tsan,$(TSAN_TESTS))

fuzz: $(VENV)/.installed
	@test -n "$(FUZZ_CXX)" || { echo "make fuzz needs clang: apt install clang-19 libclang-rt-19-dev, or FUZZ_CXX=..."; exit 1; }
	$(call cxx,fuzz/cxx,$(FUZZ_CXX),-DFASTLOAD_FUZZ=ON -DFASTLOAD_SANITIZE=address$(comma)undefined)
	mkdir -p $(BUILD)/fuzz/corpus
	UBSAN_OPTIONS=print_stacktrace=1 $(BUILD)/fuzz/cxx/fuzz_shard -max_total_time=$(FUZZ_SECONDS) -max_len=32768 -timeout=20 \
		-rss_limit_mb=2048 -print_final_stats=1 -artifact_prefix=$(BUILD)/fuzz/ $(BUILD)/fuzz/corpus
