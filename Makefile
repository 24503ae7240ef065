# fleetbak - GNU make, one Makefile, nothing generated into the source tree.
#
#   make demo             set up, build, back up and restore an embedded fleet
#   make check            set up, build, run every test
#   make                  build build/debug/fleetbak
#   make setup            install what building and testing need (Debian)
#   make check-unit       unit tests only
#   make check BUILD=asan ... under a sanitizer: asan, tsan; or: release
#   make check BUILD=cov  and print coverage; too little of it fails
#   make fuzz             fuzz every target for FUZZ_SECONDS (needs clang)
#   make check-s3         the scenarios of nights to object storage only
#   make storm            faults at random for STORM_SECONDS (ten minutes)
#   make check-libvirt    the scenarios with virtual machines only, and count
#   make check-drivers    the scenarios of the other drivers, and count by driver
#   make lint             layers, headers, scripts, man pages, static analysis
#   make tidy             clang-tidy over every source: ten minutes
#   make soak             a random walk for SOAK_SECONDS (an hour)
#   make bench            speed, memory and stored bytes, next to the peers'
#   make bench-s3         the same of a bucket, next to what its server gives
#   make bench-guests     the same of guests, next to nbdcopy and virtnbdbackup
#   make install          PREFIX=/usr/local DESTDIR=
#
# Variants live side by side in build/<variant>; switching needs no clean.

VERSION := 0.1.0
BUILD   ?= debug
B       := build/$(BUILD)

PREFIX   ?= /usr/local
BINDIR   ?= $(PREFIX)/bin
MANDIR   ?= $(PREFIX)/share/man
BASHCOMP ?= $(PREFIX)/share/bash-completion/completions
ZSHCOMP  ?= $(PREFIX)/share/zsh/vendor-completions
FISHCOMP ?= $(PREFIX)/share/fish/vendor_completions.d
INSTALL  ?= install

# What the user sets (CC, CPPFLAGS, CFLAGS, LDFLAGS) is kept apart from what
# the project needs (fb_*), and comes after it.
CC     ?= cc
CFLAGS ?=

fb_packages := libarchive libzstd libcrypto libcurl expat jansson yaml-0.1
fb_cppflags := -Iinclude -D_GNU_SOURCE -D_FILE_OFFSET_BITS=64 \
	-DFB_VERSION='"$(VERSION)"'
fb_warnings := -Wall -Wextra -Werror -Wpedantic -Wshadow -Wundef \
	-Wstrict-prototypes -Wmissing-prototypes -Wpointer-arith \
	-Wcast-align -Wwrite-strings -Wvla -Wformat=2 -Wconversion \
	-Wno-sign-conversion
fb_cflags   := -std=c17 -fno-common -pthread $(fb_warnings) \
	-ffile-prefix-map=$(CURDIR)=.
fb_ldflags  := -pthread
# libcurl is loaded when it is needed: src/base/curl_late.h says why.
fb_libs      = $(filter-out -lcurl,\
	$(shell pkg-config --libs $(fb_packages) 2>/dev/null)) \
	$(if $(fb_ipsec_mb),-lIPSec_MB) -lm

# Hashes several messages at once where it is there (Debian: libipsec-mb-dev);
# IPSEC_MB= does without.  It has no file for pkg-config.
IPSEC_MB ?= $(shell printf '\043include <intel-ipsec-mb.h>\n' | \
	$(CC) $(CPPFLAGS) -E -o /dev/null - 2>/dev/null && echo yes)
fb_ipsec_mb := $(IPSEC_MB)
fb_cppflags += $(if $(fb_ipsec_mb),-DFB_IPSEC_MB)

# Guests of libvirt, where its headers and libnbd's are there (Debian:
# libvirt-dev libnbd-dev libxml2-dev); LIBVIRT= does without.  Both libraries are
# loaded when a source needs them: src/driver/libvirt_late.h.
LIBVIRT ?= $(shell pkg-config --exists libvirt libnbd libxml-2.0 2>/dev/null && \
	echo yes)
fb_packages += $(if $(LIBVIRT),libxml-2.0)
fb_cppflags += $(if $(LIBVIRT),$(shell pkg-config --cflags libxml-2.0))
fb_left_out := $(if $(LIBVIRT),src/driver/libvirt_absent.c,\
	$(filter-out src/driver/libvirt_absent.c,$(wildcard src/driver/libvirt*.c)) \
	$(wildcard src/driver/morpheus*.c tests/unit/test_morpheus*.c) \
	$(wildcard tests/fuzz/fuzz_morpheus*.c) \
	$(wildcard tests/unit/test_libvirt*.c tests/fuzz/fuzz_libvirt*.c))

debug.cflags   := -O2 -g -DFB_FAULTS
release.cflags := -O2 -g -D_FORTIFY_SOURCE=2 -fstack-protector-strong -fPIE
release.ldflags := -pie -Wl,-z,relro,-z,now
asan.cflags    := -O1 -g -DFB_FAULTS -fno-omit-frame-pointer \
	-fsanitize=address,undefined -fno-sanitize-recover=all
tsan.cflags    := -O1 -g -DFB_FAULTS -fsanitize=thread
cov.cflags     := -O0 -g -DFB_FAULTS -DFB_COVERAGE --coverage \
	-fprofile-update=atomic
cov.ldflags    := -Wl,--wrap=_exit,--wrap=execv,--wrap=execve
fuzz.cflags    := -O1 -g -fsanitize=fuzzer-no-link,address,undefined \
	-fno-sanitize-recover=all

ifneq ($(filter $(BUILD),debug release asan tsan cov fuzz),$(BUILD))
$(error BUILD is one of: debug release asan tsan cov fuzz)
endif
ifeq ($(BUILD),fuzz)
CC := clang
endif
fb_cflags  += $($(BUILD).cflags)
fb_ldflags += $($(BUILD).ldflags) $(filter -fsanitize=% --coverage,$($(BUILD).cflags))

# Sources.  A new .c file in src/ is found by itself; a new test too.
sources   := $(filter-out $(fb_left_out),$(sort $(wildcard src/*/*.c)))
objects   := $(sources:%.c=$(B)/%.o)
main      := $(B)/src/cli/main.o
library   := $(B)/libfleetbak.a
units     := $(patsubst tests/unit/%.c,$(B)/unit/%,\
	$(filter-out $(fb_left_out),$(sort $(wildcard tests/unit/test_*.c))))
support   := $(patsubst %.c,$(B)/%.o,$(sort $(wildcard tests/support/*.c)))
helpers   := $(patsubst tests/scenario/%.c,$(B)/scenario/%,$(wildcard tests/scenario/*.c)) \
	$(B)/servers/faultproxy $(B)/servers/free_ports \
	$(B)/servers/computer_host $(B)/servers/miosa $(B)/servers/morpheus \
	$(B)/servers/icp
fuzzers   := $(patsubst tests/fuzz/%.c,%,\
	$(filter-out $(fb_left_out),$(wildcard tests/fuzz/fuzz_*.c)))
models    := $(patsubst tests/model/%.c,$(B)/model/%,$(wildcard tests/model/*_model.c))
replays   := $(fuzzers:%=$(B)/replay/%)

compile = $(CC) $(fb_cppflags) $(CPPFLAGS) $(fb_cflags) $(CFLAGS)
link    = $(CC) $(fb_cflags) $(CFLAGS) $(fb_ldflags) $(LDFLAGS)

# make V=1 shows the commands.
ifeq ($(V),1)
say := @:
else
.SILENT:
say := @echo
endif

.DELETE_ON_ERROR:
# Without this the tests' objects are taken away after the first build, and
# made once more by the second.
.SECONDARY:
.PHONY: all setup demo check check-unit check-replay check-scenario \
	check-s3 check-libvirt check-crash check-model models check-sanitized check-all units replays \
	scenario-helpers fuzz \
	fuzz-targets lint tidy install uninstall clean FORCE

all: $(B)/fleetbak

$(B)/fleetbak: $(main) $(library)
	$(say) '  LD   $@'
	$(link) -o $@ $^ $(fb_libs) $(LIBS)

$(library): $(filter-out $(main),$(objects))
	$(say) '  AR   $@'
	rm -f $@
	$(AR) rcs $@ $^

# A change of flags rebuilds everything; the stamp changes only when they do.
$(B)/%.o: %.c $(B)/flags
	@mkdir -p $(@D)
	$(say) '  CC   $@'
	$(compile) -MMD -MP -c -o $@ $<

# What the assembler takes in, the compiler does not see.
$(B)/src/repo/rescue.o: src/repo/restore.sh src/repo/RESTORE.txt

$(B)/flags: FORCE
	@mkdir -p $(@D)
	@echo "$(compile) $(link)" | cmp -s - $@ || echo "$(compile) $(link)" >$@
FORCE:

# Tests.  `make check` sets up, builds and runs all of them; the parts can be
# run alone, with BUILD=asan and so on, and TESTS="name name" for some of them.
$(B)/tests/%.o: private fb_cppflags += -Itests/unit -Itests

$(B)/unit/%: $(B)/tests/unit/%.o $(support) $(library)
	@mkdir -p $(@D)
	$(say) '  LD   $@'
	$(link) -o $@ $^ $(fb_libs) -lcmocka $(LIBS)

# What every store promises; a scenario gives it the stores that need a server.
promises := $(patsubst %.c,$(B)/%.o,$(wildcard tests/unit/store_*.c))
$(B)/unit/test_store: $(B)/tests/unit/test_store.o $(promises) $(support) $(library)
	@mkdir -p $(@D)
	$(say) '  LD   $@'
	$(link) -o $@ $^ $(fb_libs) -lcmocka $(LIBS)

$(B)/scenario/%: $(B)/tests/scenario/%.o $(library)
	@mkdir -p $(@D)
	$(link) -o $@ $^ $(fb_libs) $(LIBS)

# What scenarios put before and beside real servers.
proxy := $(patsubst %.c,$(B)/%.o,$(wildcard tests/servers/proxy*.c))
$(B)/servers/faultproxy: $(proxy) $(library)
$(B)/servers/faultproxy: private LIBS += -lssl
$(B)/servers/free_ports: $(B)/tests/servers/free_ports.o
$(B)/servers/computer_host: $(patsubst %.c,$(B)/%.o,\
	$(wildcard tests/servers/chost*.c) tests/servers/proxy_io.c \
	tests/servers/proxy_http.c) $(library)
$(B)/servers/computer_host: private LIBS += -lssl
$(B)/servers/miosa: $(patsubst %.c,$(B)/%.o,\
	$(wildcard tests/servers/miosa*.c) tests/servers/proxy_io.c \
	tests/servers/proxy_http.c) $(library)
$(B)/servers/miosa: private LIBS += -lssl
$(B)/servers/morpheus: $(patsubst %.c,$(B)/%.o,\
	$(wildcard tests/servers/morpheus*.c) tests/servers/proxy_io.c \
	tests/servers/proxy_http.c) $(library)
$(B)/servers/morpheus: private LIBS += -lssl
$(B)/servers/icp: $(patsubst %.c,$(B)/%.o,$(wildcard tests/servers/icp*.c)) \
	$(library)
$(B)/servers/faultproxy $(B)/servers/free_ports $(B)/servers/computer_host \
	$(B)/servers/miosa $(B)/servers/morpheus $(B)/servers/icp:
	@mkdir -p $(@D)
	$(say) '  LD   $@'
	$(link) -o $@ $^ $(fb_libs) $(LIBS)

$(B)/replay/%: $(B)/tests/fuzz/%.o $(B)/tests/fuzz/replay_main.o $(library)
	@mkdir -p $(@D)
	$(link) -o $@ $^ $(fb_libs) $(LIBS)

$(B)/fuzz/%: $(B)/tests/fuzz/%.o $(library)
	@mkdir -p $(@D)
	$(link) -fsanitize=fuzzer -o $@ $^ $(fb_libs) $(LIBS)

$(B)/model/%: $(B)/tests/model/%.o $(B)/tests/model/explore.o
	@mkdir -p $(@D)
	$(say) '  LD   $@'
	$(link) -o $@ $^ $(LIBS)

units: $(units)
models: $(models)
replays: $(replays)

# What the virtual machines of scenarios boot, of Debian's packages for this
# processor; tests/servers/guest/make.sh says what it is.
guest := $(if $(filter x86_64,$(shell uname -m)),build/guest/made)
guest: $(guest)
build/guest/made: $(wildcard tests/servers/guest/*.sh)
	@mkdir -p $(@D)
	$(say) '  MAKE $@'
	sh tests/servers/guest/make.sh $(@D)
	touch $@
.PHONY: guest

scenario-helpers: $(helpers) $(guest)

# One level down, because the libraries' flags are asked for when make starts,
# which may be before setup has installed them.
again := $(MAKE) --no-print-directory
cpus  := $(shell getconf _NPROCESSORS_ONLN 2>/dev/null || echo 1)

setup:
	sh tests/setup.sh all

check:
	rm -rf build/results build/crash/$(BUILD)
	sh tests/setup.sh all
	[ $(BUILD) != cov ] || find $(B) -name '*.gcda' -delete 2>/dev/null || :
	$(again) -j$(cpus) all units replays scenario-helpers
	rc=0; \
	$(again) lint || rc=1; \
	$(again) -k check-unit || rc=1; \
	$(again) -k check-replay || rc=1; \
	$(again) -k check-scenario || rc=1; \
	$(again) check-crash || rc=1; \
	if [ $(BUILD) = debug ]; then $(again) -k check-model || rc=1; fi; \
	if [ $(BUILD) = debug ]; then $(again) check-sanitized || rc=1; fi; \
	if [ $(BUILD) = cov ]; then sh tests/coverage.sh || rc=1; fi; \
	exit $$rc

check-unit: $(units)
	sh tests/run.sh $(BUILD) unit $(TESTS)

check-replay: $(replays)
	sh tests/run.sh $(BUILD) replay $(TESTS)

check-model: $(models)
	sh tests/run.sh $(BUILD) model $(TESTS)

# One more than there are processors: many of them wait for much of their time.
check-scenario: $(if $(TESTS),$(if $(filter libvirt_%,$(TESTS)),$(guest)),$(guest))
check-scenario: $(B)/fleetbak $(helpers) $(B)/soak/soak $(B)/unit/test_store
	TEST_JOBS=$${TEST_JOBS:-$$(($(cpus) + 1))} \
	    sh tests/run.sh $(BUILD) scenario $(TESTS)

# Nights to object storage, alone: buckets, encryption, copies, who runs them
# when nobody watches, and several workers.  STORM_SECONDS makes the storm a
# long one.
nightly := $(patsubst tests/scenario/%.sh,%,$(sort $(wildcard \
	$(addprefix tests/scenario/,s3_*.sh encrypted*.sh *_encrypted.sh copy*.sh \
	crash_copy.sh rescue_without_fleetbak.sh unattended*.sh config_units.sh \
	units_systemd.sh download_limits.sh shard_*.sh crash_shard.sh \
	slurm_array.sh without_libcurl.sh))))
check-s3: $(B)/fleetbak $(helpers) $(B)/unit/test_store
	sh tests/run.sh $(BUILD) scenario $(nightly)

# Ten minutes of everything that can go wrong before a server, at random; each
# night is verified.
STORM_SECONDS ?= 600
storm: export STORM_SECONDS := $(STORM_SECONDS)
storm: $(B)/fleetbak $(helpers)
	SCENARIO_SECONDS=$$(($(STORM_SECONDS) + 900)) \
	    sh tests/run.sh $(BUILD) scenario s3_faults
.PHONY: storm

# What has to do with virtual machines, alone; ends with the counts.  More of
# the crashes are tried than among all the others.
check-libvirt:
	sh tests/setup.sh all
	$(again) -j$(cpus) $(B)/fleetbak $(helpers) guest
	rm -f build/results
	rc=0; \
	CRASH_EVERY=$${CRASH_EVERY:-2} TEST_JOBS=$${TEST_JOBS:-$$(($(cpus) + 1))} \
	    sh tests/run.sh $(BUILD) scenario \
	    $(patsubst tests/scenario/%.sh,%,$(wildcard tests/scenario/libvirt_*.sh)) || rc=1; \
	awk '{ n[$$1]++ } END { printf "%d passed, %d failed, %d skipped\n", \
	    n["pass"], n["fail"], n["skip"] }' build/results; \
	exit $$rc

# The other drivers, alone, and what they share; ends with the counts of each.
drivers := local plugin computer_host miosa morpheus icp
driver_tests = $(patsubst tests/scenario/%.sh,%,$(sort $(wildcard \
	tests/scenario/$(1).sh tests/scenario/$(1)_*.sh)))
local_tests := download_basic download_change_map restore_in_place restore_new \
	restore_dir restore_live crash_download crash_restore
check-drivers:
	sh tests/setup.sh all
	$(again) -j$(cpus) $(B)/fleetbak $(helpers) \
	    $(addprefix $(B)/unit/,test_sse test_api test_computer_host test_miosa test_morpheus test_icp \
	    test_driver test_local test_plugin)
	rm -f build/results
	rc=0; \
	sh tests/run.sh $(BUILD) unit test_sse test_api test_computer_host test_miosa test_morpheus test_icp \
	    test_driver test_local test_plugin || rc=1; \
	sh tests/run.sh $(BUILD) scenario $(local_tests) \
	    $(call driver_tests,plugin) $(call driver_tests,computer_host) \
	    $(call driver_tests,miosa) $(call driver_tests,morpheus) \
	    $(call driver_tests,icp) || rc=1; \
	awk -v drivers="$(drivers)" -v local="$(local_tests)" ' \
	    BEGIN { n = split(drivers, d, " "); split(local, l, " "); \
	        for (i in l) own[l[i]] = "local" } \
	    { who = "shared"; name = $$4; sub(/^test_/, "", name); \
	        for (i = 1; i <= n; i++) if (index(name, d[i]) == 1) who = d[i]; \
	        if (name in own) who = own[name]; c[who, $$1]++; all[$$1]++ } \
	    END { d[++n] = "shared"; for (i = 1; i <= n; i++) \
	        printf "driver %s: %d passed, %d failed, %d skipped\n", d[i], \
	        c[d[i], "pass"], c[d[i], "fail"], c[d[i], "skip"]; \
	        printf "%d passed, %d failed, %d skipped\n", all["pass"], \
	        all["fail"], all["skip"] }' build/results; \
	exit $$rc
.PHONY: check-drivers

# Did the scenarios try every crash that is declared?
check-crash:
	[ $(BUILD) = release ] || sh tests/crash/check.sh $(BUILD)

# The unit tests and corpora once more, where memory and threads are watched,
# and what sends the program itself through most of its commands.
watched := bad_input cli_basics copy encrypted prune
check-sanitized:
	rc=0; \
	$(again) -j$(cpus) units replays BUILD=asan || rc=1; \
	$(again) -k check-unit check-replay BUILD=asan || rc=1; \
	$(again) check-scenario BUILD=asan TESTS="$(watched)" || rc=1; \
	$(again) -j$(cpus) units BUILD=tsan || rc=1; \
	$(again) check-unit BUILD=tsan || rc=1; \
	exit $$rc

check-all:
	@for v in debug release asan tsan; do $(again) check BUILD=$$v || exit 1; done

demo:
	sh tests/setup.sh build
	$(again) all
	sh tests/demo.sh $(B)/fleetbak

# Tables of speed, memory and stored bytes, with the peers and the yardstick;
# tests/bench/README.md explains them and the settings BENCH_*.
bench_tools := $(addprefix $(B)/bench/,mkfleet mktree measure limit)
bench_limit := limit limit_index limit_read limit_hash limit_cut

# The yardstick asks the processor for these before it goes there.
ifeq ($(shell uname -m),x86_64)
bench_wide := -mavx512f -mavx512bw -mavx512vl -mavx512dq -msha -mbmi
endif
$(patsubst %,$(B)/tests/bench/limit_%.o,hash cut): private CFLAGS += -O3 $(bench_wide)

$(B)/bench/mkfleet: $(B)/tests/bench/mkfleet.o $(B)/tests/bench/material.o
$(B)/bench/mktree: $(B)/tests/bench/mktree.o $(B)/tests/bench/material.o
$(B)/bench/measure: $(B)/tests/bench/measure.o
$(B)/bench/limit: $(bench_limit:%=$(B)/tests/bench/%.o)
$(B)/bench/limit: private LIBS += -lzstd
$(bench_tools):
	@mkdir -p $(@D)
	$(link) -o $@ $^ -lm $(LIBS)

bench-tools: $(B)/fleetbak $(bench_tools)
bench:
	sh tests/setup.sh bench
	$(again) -j$(cpus) BUILD=release bench-tools
	sh tests/bench/bench.sh build/release/fleetbak build/release/bench

# Curves of memory and time over fleets and repositories of growing size;
# tests/bench/scale.md explains them, SCALE_MAX and SCALE_DIR.
$(B)/bench/mkindex: $(B)/tests/bench/mkindex.o $(library)
	@mkdir -p $(@D)
	$(link) -o $@ $^ $(fb_libs) $(LIBS)

bench-scale:
	sh tests/setup.sh build
	$(again) -j$(cpus) BUILD=release build/release/fleetbak \
	    build/release/bench/measure build/release/bench/mkindex
	sh tests/bench/scale.sh build/release/fleetbak \
	    build/release/bench/measure build/release/bench/mkindex
# A bucket, beside restic, rclone and what the server itself gives; tests/bench/
# s3.md explains it and the settings S3_*.
$(B)/bench/mkruns: $(B)/tests/bench/mkruns.o $(library)
$(B)/bench/s3bench: $(B)/tests/bench/s3bench.o
$(B)/bench/s3bench: private LIBS += -lcurl
$(B)/bench/mkruns $(B)/bench/s3bench:
	@mkdir -p $(@D)
	$(link) -o $@ $^ $(fb_libs) $(LIBS)

bench-s3:
	sh tests/setup.sh bench
	$(again) -j$(cpus) BUILD=release build/release/fleetbak \
	    $(addprefix build/release/bench/,measure mkfleet mkruns s3bench) \
	    build/release/servers/free_ports
	sh tests/bench/s3.sh build/release/fleetbak build/release/bench
# Guests, beside nbdcopy and virtnbdbackup; tests/bench/guests.md explains the
# settings GUESTS_* and VIRTNBDBACKUP.
bench-guests:
	sh tests/setup.sh all
	$(again) -j$(cpus) BUILD=release build/release/fleetbak \
	    build/release/bench/measure build/release/bench/mkfleet \
	    build/release/servers/free_ports
	$(again) guest
	sh tests/bench/guests.sh build/release/fleetbak build/release/bench
.PHONY: bench bench-tools bench-scale bench-s3 bench-guests

# A random walk against a model; SOAK_SECONDS, SOAK_SEED and SOAK_STEPS are
# explained in tests/soak/main.c.
$(B)/soak/soak: $(patsubst %.c,$(B)/%.o,$(wildcard tests/soak/*.c)) $(library)
	@mkdir -p $(@D)
	$(link) -o $@ $^ $(fb_libs) $(LIBS)

soak:
	sh tests/setup.sh build
	$(again) $(B)/fleetbak $(B)/soak/soak
	$(B)/soak/soak $(B)/fleetbak
.PHONY: soak

# Every target for FUZZ_SECONDS, as many at a time as there are processors.
FUZZ_SECONDS ?= 60
fuzz: export FUZZ_SECONDS := $(FUZZ_SECONDS)
fuzz:
	sh tests/setup.sh all
	$(again) -j$(cpus) fuzz-targets BUILD=fuzz
	sh tests/run.sh fuzz fuzz $(TESTS)

fuzz-targets: $(fuzzers:%=$(B)/fuzz/%)

headers := $(sort $(wildcard include/fleetbak/*/*.h))
lint:
	@for check in tests/lint/*.sh; do echo "# $$check"; \
	    FB_BIN=$(abspath $(B)) sh $$check || exit 1; done
	@for h in $(headers:include/%=%); do \
	    printf '#include "%s"\ntypedef int not_empty;\n' $$h | \
	    $(CC) $(fb_cppflags) -std=c17 $(fb_warnings) -fsyntax-only -x c - || \
	    { echo "$$h does not stand alone"; exit 1; }; done
	shellcheck -x -P SCRIPTDIR $(shell git ls-files '*.sh' .ci/run 2>/dev/null || ls tests/*.sh tests/*/*.sh .ci/run)
	cppcheck --quiet --error-exitcode=1 --std=c11 -Iinclude -D_GNU_SOURCE \
	    '-Djson_array_foreach(a,i,v)=for ((i) = 0; (i) < 9; (i)++)' \
	    '-Djson_object_foreach(o,k,v)=for (; (k) != 0;)' \
	    --enable=warning,portability --inline-suppr -j2 src

# A file at a time on all processors; slower than everything else in lint.
tidy: $(sources:%.c=$(B)/%.tidy)
$(B)/%.tidy: %.c .clang-tidy
	@mkdir -p $(@D)
	$(say) '  TIDY $<'
	clang-tidy --quiet $< -- $(fb_cppflags) -DFB_FAULTS -std=c17 2>/dev/null
	touch $@

# Installing.
install: $(B)/fleetbak
	$(INSTALL) -d $(DESTDIR)$(BINDIR) $(DESTDIR)$(BASHCOMP) \
	    $(DESTDIR)$(ZSHCOMP) $(DESTDIR)$(FISHCOMP) $(DESTDIR)$(MANDIR)/man1 \
	    $(DESTDIR)$(MANDIR)/man5 $(DESTDIR)$(MANDIR)/man7
	$(INSTALL) -m 0755 $(B)/fleetbak $(DESTDIR)$(BINDIR)/fleetbak
	@for s in 1 5 7; do for page in $(wildcard man/*.1 man/*.5 man/*.7); do \
	    case $$page in *.$$s) $(INSTALL) -m 0644 $$page \
	    $(DESTDIR)$(MANDIR)/man$$s/ || exit 1;; esac; done; done
	$(INSTALL) -m 0644 completions/fleetbak.bash $(DESTDIR)$(BASHCOMP)/fleetbak
	$(INSTALL) -m 0644 completions/fleetbak.zsh $(DESTDIR)$(ZSHCOMP)/_fleetbak
	$(INSTALL) -m 0644 completions/fleetbak.fish $(DESTDIR)$(FISHCOMP)/fleetbak.fish

uninstall:
	rm -f $(DESTDIR)$(BINDIR)/fleetbak $(DESTDIR)$(BASHCOMP)/fleetbak \
	    $(DESTDIR)$(ZSHCOMP)/_fleetbak $(DESTDIR)$(FISHCOMP)/fleetbak.fish
	@for page in $(notdir $(wildcard man/*.1)); do rm -f $(DESTDIR)$(MANDIR)/man1/$$page; done
	@for page in $(notdir $(wildcard man/*.5)); do rm -f $(DESTDIR)$(MANDIR)/man5/$$page; done
	@for page in $(notdir $(wildcard man/*.7)); do rm -f $(DESTDIR)$(MANDIR)/man7/$$page; done

clean:
	rm -rf build

-include $(shell find $(B) -name '*.d' 2>/dev/null)
