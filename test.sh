#!/bin/bash
# test.sh - installs what is missing, builds, and runs every test.
#
# Builds in build/test (assertions on) and build/asan (Address Sanitizer, the
# quick tests only); changes no setting of the machine. The last line says how
# many checks passed and failed. With CI set, a test that can't run is a failure,
# and the stress runs longer.
set -u -o pipefail
cd "$(dirname "$0")"
here=$PWD

packages=(build-essential autoconf automake libtool pkgconf libnuma-dev
    libcriterion-dev libuv1-dev libjemalloc-dev liburcu-dev redis-tools
    qemu-system-x86 busybox-static numactl cpio
    git perl python3 sqlite3 stress-ng wrk xz-utils)
# Servers, which Debian starts when they are installed: only where nobody minds. Without
# them the tests that need them are skipped, and say so.
[ -n "${CI-}" ] && packages+=(redis-server memcached nginx-light libpython3.11-testsuite liburing-dev)

say() { printf '\n== %s\n' "$*"; }

install_missing() {
    local missing=() root=()
    for package in "${packages[@]}"; do
        dpkg-query -W -f '${Status}' "$package" 2>/dev/null | grep -q 'ok installed' ||
            missing+=("$package")
    done
    [ ${#missing[@]} -gt 0 ] || return 0
    say "installing ${missing[*]}"
    [ "$(id -u)" = 0 ] || root=(sudo)
    "${root[@]}" apt-get update -qq &&
        DEBIAN_FRONTEND=noninteractive "${root[@]}" apt-get install -y -qq \
            --no-install-recommends "${missing[@]}" >/dev/null
}

build() { # FOLDER CONFIGURE-OPTION...
    local folder=$1
    shift
    mkdir -p "$folder"
    (cd "$folder" && { [ -f Makefile ] || "$here/configure" "$@" >configure.log; } &&
        make -s -j"$(nproc)" all &&
        make -s -j"$(nproc)" check TESTS= >/dev/null)
}

passed=0 failed=0
count() { # LOG...: adds up what they say last
    local log p f
    for log in "$@"; do
        p=0 f=0
        read -r p f < <(sed -n 's/^\([0-9]*\) passed, \([0-9]*\) failed$/\1 \2/p' "$log" | tail -1)
        if [ -z "${f:-}" ] || { [ "$p" = 0 ] && [ "$f" = 0 ]; }; then
            grep -q '^SKIP' "${log%.log}.trs" 2>/dev/null && [ -z "${CI-}" ] && continue
            echo "FAILED: $log says nothing of what it tested"
            f=1 p=0
        fi
        [ "$f" = 0 ] || { say "FAILED: $f in $log"; tail -40 "$log"; }
        passed=$((passed + p)) failed=$((failed + f))
    done
}

check() { # FOLDER [MAKE-ARGUMENT...]
    local folder=$1 status
    shift
    find "$folder/tests" \( -name '*.log' -o -name '*.trs' \) -delete 2>/dev/null
    make -s -C "$folder" check "$@"
    status=$?
    mapfile -t logs < <(find "$folder/tests" -name '*.log' | sort)
    [ ${#logs[@]} -gt 0 ] || { echo "FAILED: no test ran in $folder"; failed=$((failed + 1)); }
    count "${logs[@]}"
    [ $status = 0 ] || [ $failed -gt 0 ] || failed=1
}

finish() {
    echo
    echo "$passed passed, $failed failed"
    [ $failed = 0 ]
    exit
}

install_missing || { echo "packages could not be installed"; failed=1; finish; }
if [ ! -f configure ] || [ configure.ac -nt configure ] || [ Makefile.am -nt Makefile.in ]; then
    say "autogen.sh"
    ./autogen.sh >/dev/null 2>&1 || { ./autogen.sh; failed=1; finish; }
fi

say "building build/test: assertions on"
build build/test --enable-debug --enable-werror || { echo "the build failed"; failed=1; finish; }
say "testing"
check build/test

say "building build/asan: Address Sanitizer"
if build build/asan --enable-debug --enable-sanitize=address; then
    say "testing with Address Sanitizer"
    STRESS_SECONDS=${STRESS_SECONDS:-10} MODEL_QUICK=1 check build/asan \
        TESTS="$(make -s -C build/asan print-quick-tests)"
else
    echo "the build with Address Sanitizer failed"
    failed=$((failed + 1))
fi
finish
