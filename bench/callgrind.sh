#!/bin/bash
# callgrind.sh: how many instructions does a malloc and its free take on the fast path?
#
# usage: ../bench/callgrind.sh [--lib NAME=PATH] [--out FILE]    in the build folder, after make
#
# Callgrind counts the instructions of a run of pairs and of one twice as long, under the
# unmodified program with the library preloaded; the difference is what the pairs took, and
# from it goes what the loop takes without them. So starting, ending and first calls are left
# out, and the calls by way of the linkage table are in it. Callgrind, unlike valgrind's other
# tools, leaves malloc alone. The counts do not depend on what else the machine does.
#
# Debian packages: valgrind, and those of run.sh.
set -u

. "$(dirname "$0")/options.sh"
sizes=(16 64 256 1024 8192 65536)
pairs=20000 out=''
# shellcheck disable=SC2034 # parse_options reads them
declare -A flags=() values=([--out]=out)
parse_options "$@"
type -P valgrind >/dev/null || die "no valgrind here (Debian package: valgrind)"
[ -x bench/workload ] || die "no bench/workload here: make bench/workload"

. "$source_dir/contestants.sh"
choose_contestants

log=$(mktemp)
trap 'rm -f "$log"' EXIT

counted() { # LIBRARY KIND BYTES PAIRS: instructions of the whole run
        (preloaded "$1" valgrind --tool=callgrind --callgrind-out-file=/dev/null \
                bench/workload "$2" bytes="$3" operations="$4") >"$log" 2>&1 || return
        sed -n 's/^==[0-9]*== Collected : \([0-9]*\).*/\1/p' "$log"
}

per_operation() { # LIBRARY KIND BYTES: nothing if it fails
        local once twice
        once=$(counted "$1" "$2" "$3" $pairs) && twice=$(counted "$1" "$2" "$3" $((2 * pairs))) &&
                awk "BEGIN { printf \"%.1f\", ($twice - $once) / $pairs }"
}

table() {
        local name bytes loop found
        echo "instructions of a malloc and a free"
        printf '%-10s' bytes "${sizes[@]}"
        echo
        declare -A loop
        for bytes in "${sizes[@]}"; do
                loop[$bytes]=$(per_operation - nothing "$bytes")
        done
        for name in "${contestants[@]}"; do
                printf '%-10s' "$name"
                for bytes in "${sizes[@]}"; do
                        found=$(per_operation "${library[$name]}" pair "$bytes")
                        if [ -n "$found" ]; then
                                printf '%-10s' "$(awk "BEGIN { printf \"%.1f\", $found - ${loop[$bytes]} }")"
                        else
                                printf '%-10s' failed
                        fi
                done
                echo
        done
}

table | sed 's/ *$//' | tee ${out:+"$out"}
