#!/bin/bash
# One command that shows what Polder does: the example server over Polder beside the same
# server over jemalloc and liburcu, both with about 1 GiB of live values, under the same load.
#
# Installs the Debian packages that are missing (with sudo if need be), builds into build/,
# changes no setting of the machine, and ends its servers when it ends. Under five minutes
# on two processors; the memory needed is 5 GiB, or 3 where that is all there is.
set -u
cd "$(dirname "$0")" || exit 1

packages=(build-essential autoconf automake libtool pkgconf libnuma-dev libuv1-dev
        libjemalloc-dev liburcu-dev redis-tools libcriterion-dev)
keys=1900000              # of 464 bytes on average: about 1 GiB with their keys
sizes=(64 256 512 1024)   # of the values, in bytes
slices=4 slice_seconds=24 # of load, for each server
clients=16 pipeline=16    # clients of each kind, GET and SET; requests a client sends at once
servers=build/examples/kvd

work=$(mktemp -d)
started=$SECONDS

. examples/kvd/load.sh

# --- Telling what goes on -------------------------------------------------------------------

step() {
        [ -t 1 ] && printf '\r\033[K'
        printf '[%3d s] %s\n' $((SECONDS - started)) "$*"
}

# progress WORDS: on the terminal only, and overwritten by what comes next
progress() {
        [ -t 1 ] && printf '\r\033[K[%3d s] %s' $((SECONDS - started)) "$*"
}

die() {
        step "demo.sh: $*" >&2
        exit 1
}

cleanup() {
        trap - EXIT INT TERM
        local processes
        mapfile -t processes < <(jobs -p) # also one started this very moment
        [ ${#processes[@]} -eq 0 ] || kill "${processes[@]}" 2>/dev/null
        wait 2>/dev/null
        rm -rf "$work"
}
trap cleanup EXIT
trap 'echo; echo "demo.sh: stopped"; exit 130' INT TERM

# run WHAT COMMAND...: shows its last words if it fails
run() {
        local what=$1
        shift
        step "$what"
        "$@" >"$work/log" 2>&1 &
        local job=$!
        children=("$job")
        while kill -0 "$job" 2>/dev/null; do
                progress "$(tail -n 1 "$work/log" | tr -d '\r' | cut -c1-70)"
                sleep 0.5
        done
        children=()
        wait "$job" && return
        tail -n 20 "$work/log" >&2
        die "$what: failed, see above"
}

# --- Installing and building ----------------------------------------------------------------

install_packages() {
        local missing=() package as_root=()
        for package in "${packages[@]}"; do
                dpkg-query -W -f '${db:Status-Status}\n' "$package" 2>/dev/null |
                        grep -qx installed || missing+=("$package")
        done
        [ ${#missing[@]} -eq 0 ] && return
        if [ "$(id -u)" -ne 0 ]; then
                command -v sudo >/dev/null ||
                        die "not root, no sudo, and these packages are missing: ${missing[*]}"
                echo "These packages are missing, and sudo is used to install them: ${missing[*]}"
                sudo -v || die "sudo did not let us"
                as_root=(sudo)
        fi
        run "reading the package lists" "${as_root[@]}" apt-get update
        run "installing ${missing[*]}" "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive \
                apt-get install -y --no-install-recommends "${missing[@]}"
}

build() {
        if [ ! configure -nt configure.ac ] || [ ! Makefile.in -nt Makefile.am ]; then
                run "making configure" ./autogen.sh
        fi
        mkdir -p build || die "cannot make the folder build/"
        cd build || exit 1
        [ Makefile -nt ../Makefile.in ] || run "configuring" ../configure
        run "building" make -j"$(nproc)" examples/kvd/kvd examples/kvd/kvd-malloc
        cd ..
}

# --- Load ----------------------------------------------------------------------------------

# both WHO NAME COUNT: so many GETs, and as many SETs
both() {
        gets "$1" "$2" "$3" $clients
        sets "$1" "$2" "$3" $clients
}

# Finds out how many requests of each kind make a slice; for both servers the same.
calibrate() {
        local ntried=1500000
        step "trying out the load"
        both polder try $ntried
        await polder "trying out:"
        nrequests=$(figure %.0f "$ntried * $slice_seconds / $(took "$work"/try.*.bench)")
}

# slice WHO NUMBER
slice() {
        step "load on the server over $1, $2 of $slices"
        snapshot "$1" >"$work/$1.$2.before"
        both "$1" "$1.$2" "$nrequests"
        await "$1" "half GET, half SET:"
        snapshot "$1" >"$work/$1.$2.after"
        sleep 1
}

# Where the memory of a server is: in huge pages, on which nodes; before it is stopped.
places() {
        snapshot "$1" >"$work/$1.last"
        awk '/^Rss:/ { rss = $2 }
             /^AnonHugePages:|^Private_Hugetlb:|^Shared_Hugetlb:/ { huge += $2 }
             /Hugetlb:/ { rss += $2 }
             END { printf "%.1f", 100 * huge / rss }' "/proc/${pid[$1]}/smaps_rollup" \
                >"$work/$1.huge"
        awk '{ unit = 4
               for (i = 1; i <= NF; i++)
                       if ($i ~ /^kernelpagesize_kB=/) { split($i, p, "="); unit = p[2] }
               for (i = 1; i <= NF; i++)
                       if ($i ~ /^N[0-9]+=/) { split($i, p, "="); on[p[1]] += p[2] * unit; all += p[2] * unit } }
             END { for (n in on) printf "%s %.0f%% ", n, 100 * on[n] / all }' \
                "/proc/${pid[$1]}/numa_maps" 2>/dev/null >"$work/$1.nodes"
}

# --- Figures --------------------------------------------------------------------------------

# total WHO KEY: what it has grown by, over all slices
total() {
        local number names=()
        for ((number = 1; number <= slices; number++)); do names+=("$1.$number"); done
        grown "$2" "${names[@]}"
}

last() {
        sed -n "s/^$2=//p" "$work/$1.last"
}

figures() {
        local who=$1 number commands wall cpu
        commands=$(total "$who" total_commands_processed)
        cpu=$(figure %.6f "$(total "$who" used_cpu_user) + $(total "$who" used_cpu_sys)")
        for ((number = 1; number <= slices; number++)); do
                took "$work/$who.$number".*.bench
        done | awk '{ sum += $1 } END { printf "%.2f", sum }' >"$work/$who.took"
        wall=$(cat "$work/$who.took")
        throughput[$who]=$(figure %.0f "$commands / $wall")
        cpu_per_op[$who]=$(figure %.3f "$cpu / $commands * 1e6")
        local kind share
        for kind in get set; do
                for share in 0.5 0.99 0.999 1; do
                        latencies[$who.$kind.$share]=$(latency $share "$work/$who".*."$kind"*.bench)
                done
        done
}

row() {
        printf '%-34s %14s %14s %8s\n' "$1" "$2" "$3" "${4:-}"
}

mib() {
        figure '%.0f MiB' "$1 / 1048576"
}

# By the host, for other machines, during the load.
steal() {
        figure %.1f "100 * $(total "$1" machine_steal) / $(total "$1" machine_ticks)"
}

latency_rows() {
        local share words
        for share in 0.5 0.99 0.999 1; do
                case $share in
                0.5) words=p50 ;;
                0.99) words=p99 ;;
                0.999) words=p99.9 ;;
                1) words=max ;;
                esac
                row "$2 latency $words, ms" "${latencies[polder.$1.$share]}" \
                        "${latencies[jemalloc.$1.$share]}" \
                        "$(ratio "${latencies[polder.$1.$share]}" "${latencies[jemalloc.$1.$share]}")"
        done
}

table() {
        local misplaced home
        misplaced=$(last polder polder_misplaced_pages)
        home=$(figure '%.1f%%' "100 - 100 * $misplaced * 2097152 / $(last polder polder_resident_bytes)")
        echo
        row "" "Polder" "jemalloc+RCU" "ratio"
        row "requests/s" "${throughput[polder]}" "${throughput[jemalloc]}" \
                "$(ratio "${throughput[polder]}" "${throughput[jemalloc]}")"
        row "server CPU per request, us" "${cpu_per_op[polder]}" "${cpu_per_op[jemalloc]}" \
                "$(ratio "${cpu_per_op[polder]}" "${cpu_per_op[jemalloc]}")"
        latency_rows get GET
        latency_rows set SET
        row "collections under load" "$(figure %.0f "$(total polder polder_cycles)")" "-"
        row "longest stop, filling too, ms" "$(figure %.3f "$(last polder polder_stop_ns_max) / 1e6")" "-"
        row "all stops under load, ms" \
                "$(figure %.3f "$(total polder polder_stop_ns_total) / 1e6")" "-"
        row "stolen from the machine, % of CPU" "$(steal polder)" "$(steal jemalloc)"
        row "live" "$(mib "$(last polder polder_live_bytes)")" \
                "$(mib "$(last jemalloc jemalloc_allocated_bytes)")" \
                "$(ratio "$(last polder polder_live_bytes)" "$(last jemalloc jemalloc_allocated_bytes)")"
        row "heap" "$(mib "$(last polder polder_heap_bytes)")" \
                "$(mib "$(last jemalloc jemalloc_active_bytes)")" \
                "$(ratio "$(last polder polder_heap_bytes)" "$(last jemalloc jemalloc_active_bytes)")"
        row "resident (RSS)" "$(mib "$(last polder used_memory_rss)")" \
                "$(mib "$(last jemalloc used_memory_rss)")" \
                "$(ratio "$(last polder used_memory_rss)" "$(last jemalloc used_memory_rss)")"
        row "of that, in huge pages" "$(cat "$work/polder.huge")%" "$(cat "$work/jemalloc.huge")%"
        row "on the node it was asked for" "$home" "-"
        row "by node" "$(cat "$work/polder.nodes")" "$(cat "$work/jemalloc.nodes")"
        echo
}

result() {
        echo "RESULT: with $(figure %.2f "$(last polder polder_live_bytes) / 1073741824") GiB live," \
                "Polder serves $(ratio "${throughput[polder]}" "${throughput[jemalloc]}") times" \
                "jemalloc's requests at $(ratio "${cpu_per_op[polder]}" "${cpu_per_op[jemalloc]}")" \
                "times the CPU each; $(figure %.0f "$(total polder polder_cycles)") collections," \
                "longest stop $(figure %.2f "$(last polder polder_stop_ns_max) / 1e6") ms" \
                "(filling included)." \
                "Took $((SECONDS - started)) s."
}

# --- The demo -------------------------------------------------------------------------------

declare -A throughput cpu_per_op latencies

[ -t 1 ] || progress() { :; }
install_packages
build

threads=$(($(nproc) > 4 ? $(nproc) / 2 : 2))
available=$(awk '/^MemAvailable:/ { print int($2 / 1024) }' /proc/meminfo)
[ "$available" -ge 3072 ] || die "3 GiB of free memory are needed, here are $available MiB"

start polder
step "filling the server over polder with $keys keys"
fill polder
calibrate
if [ "$available" -ge 5120 ]; then
        start jemalloc
        step "filling the server over jemalloc with $keys keys"
        fill jemalloc
        for ((number = 1; number <= slices; number++)); do
                slice polder $number
                slice jemalloc $number
        done
        places polder
        places jemalloc
else
        for ((number = 1; number <= slices; number++)); do slice polder $number; done
        places polder
        stop polder
        start jemalloc
        step "filling the server over jemalloc with $keys keys"
        fill jemalloc
        for ((number = 1; number <= slices; number++)); do slice jemalloc $number; done
        places jemalloc
fi
figures polder
figures jemalloc
table
[ -z "${pid[polder]:-}" ] || stop polder
stop jemalloc
result
