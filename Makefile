# fleetbak - GNU make, one Makefile, nothing generated into the source tree.
#
#   make demo             set up, build, back up and restore an embedded fleet
#   make check            set up, build, run every test
#   make                  build build/debug/fleetbak
#   make setup            install what building and testing need (Debian)
#   make check-unit       unit tests only
#   make check BUILD=asan ... under a sanitizer: asan, tsan, cov, release
#   make fuzz             fuzz every target for FUZZ_SECONDS (needs clang)
#   make lint             layers, headers, scripts, man pages, static analysis
#   make bench            a table of speed and memory for this machine
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

fb_packages := libarchive libzstd libcrypto jansson yaml-0.1
fb_cppflags := -Iinclude -D_GNU_SOURCE -D_FILE_OFFSET_BITS=64 \
	-DFB_VERSION='"$(VERSION)"'
fb_warnings := -Wall -Wextra -Werror -Wpedantic -Wshadow -Wundef \
	-Wstrict-prototypes -Wmissing-prototypes -Wpointer-arith \
	-Wcast-align -Wwrite-strings -Wvla -Wformat=2 -Wconversion \
	-Wno-sign-conversion
fb_cflags   := -std=c17 -fno-common -pthread $(fb_warnings) \
	-ffile-prefix-map=$(CURDIR)=.
fb_ldflags  := -pthread
fb_libs      = $(shell pkg-config --libs $(fb_packages) 2>/dev/null)

debug.cflags   := -O2 -g -DFB_FAULTS
release.cflags := -O2 -g -D_FORTIFY_SOURCE=2 -fstack-protector-strong -fPIE
release.ldflags := -pie -Wl,-z,relro,-z,now
asan.cflags    := -O1 -g -DFB_FAULTS -fno-omit-frame-pointer \
	-fsanitize=address,undefined -fno-sanitize-recover=all
tsan.cflags    := -O1 -g -DFB_FAULTS -fsanitize=thread
cov.cflags     := -O0 -g -DFB_FAULTS --coverage
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
sources   := $(sort $(wildcard src/*/*.c))
objects   := $(sources:%.c=$(B)/%.o)
main      := $(B)/src/cli/main.o
library   := $(B)/libfleetbak.a
units     := $(patsubst tests/unit/%.c,$(B)/unit/%,$(sort $(wildcard tests/unit/test_*.c)))
support   := $(patsubst %.c,$(B)/%.o,$(sort $(wildcard tests/support/*.c)))
helpers   := $(patsubst tests/scenario/%.c,$(B)/scenario/%,$(wildcard tests/scenario/*.c))
fuzzers   := $(patsubst tests/fuzz/%.c,%,$(wildcard tests/fuzz/fuzz_*.c))
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
.PHONY: all units check-unit clean FORCE

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

# Tests.
$(B)/tests/%.o: private fb_cppflags += -Itests/unit -Itests

$(B)/unit/%: $(B)/tests/unit/%.o $(support) $(library)
	@mkdir -p $(@D)
	$(link) -o $@ $^ $(fb_libs) -lcmocka $(LIBS)

units: $(units)

TIMEOUT ?= timeout 120
check-unit: $(units)
	@for t in $(units); do echo "# $$t"; $(TIMEOUT) $$t || exit 1; done

clean:
	rm -rf build

-include $(shell find $(B) -name '*.d' 2>/dev/null)
