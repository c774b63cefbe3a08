#!/bin/bash
# collectors.sh: Polder's collector beside bdwgc, Go and, with free, jemalloc, on the loads of
# bench/collectors/rows. In the build folder, after make:
#
# usage: ../bench/collectors.sh [--quick | --full] [--rounds N] [--only PATTERN]
#                               [--rate N] [--lib NAME=PATH] [--no-install] [--keep] [--out DIR]
#
#   --quick      small sizes, short runs, one round: three minutes
#   --full       the cache server with 5 million entries, graphs of 20 million nodes, stops up
#                to 8 GiB: an hour, and 12 GiB of memory
#   --rounds     2 if not given
#   --only       rows whose names match the pattern, as of a shell's: 'cache*'
#   --rate       operations a second for @rate, instead of a quarter of jemalloc's full speed
#   --lib        jemalloc=PATH: another library of malloc for it
#   --no-install leaves out contestants whose packages are missing, and installs nothing
#   --keep       rows that are not run now stay as they are in the results
#   --out        where the results go: bench/results beside this script, but for a quick or
#                partial run, which writes into bench/results of the build folder
#
# In every round each row is run by all of its contestants, one after another, and each row and
# round begins with another one. Before each, as much memory as it may need is touched and given back,
# in huge pages and in base pages, for in a virtual machine the first touch may cost ten times what
# it costs later. A run that fails, finds its own result wrong, or takes too long, is counted and
# has no figures. What is written: collectors.txt, and collectors-*: raw.csv,
# samples.csv (memory over time), latencies.csv, stops.csv, machine.txt, memory.svg,
# pauses.svg, latencies.svg.
#
# Debian packages: libgc-dev golang-go libjemalloc2 gcc python3 valgrind. Those of the
# contestants are installed if they are missing, and if that can be done.
set -u

. "$(dirname "$0")/options.sh"
size=default rounds='' only='*' rate='' out='' install=yes keep=no limit=150
# shellcheck disable=SC2034 # parse_options reads them
declare -A flags=([--quick]=size=quick [--full]=size=full [--no-install]=install=no [--keep]=keep=yes) \
        values=([--rounds]=rounds [--only]=only [--rate]=rate [--out]=out)
parse_options "$@"
rounds=${rounds:-$([ $size = quick ] && echo 1 || echo 2)}
[[ $rounds =~ ^[1-9][0-9]*$ && $rate =~ ^[0-9]*$ ]] || usage 2 >&2
if [ -z "$out" ]; then
        out=$source_dir/results
        [ "$size$only" = 'default*' ] || [ $keep = yes ] || out=$build_dir/bench/results
fi

declare -A sizes
case $size in
quick) sizes=([keys]=200000 [racetime]=1 [ratetime]=4 [touch]=300 [depth]=15 [die]=10000000 [die512]=2000000 [cache]=300000 [seconds]=2 [graph]=1000000 [old]=1000000 [stops]=512) ;;
default) sizes=([keys]=1000000 [racetime]=3 [ratetime]=20 [touch]=1200 [depth]=18 [die]=40000000 [die512]=10000000 [cache]=1200000 [seconds]=6 [graph]=5000000 [old]=5000000 [stops]=2048) ;;
full) sizes=([keys]=1000000 [racetime]=10 [ratetime]=60 [touch]=5000 [depth]=18 [die]=100000000 [die512]=20000000 [cache]=5000000 [seconds]=15 [graph]=20000000 [old]=20000000 [stops]=8192) limit=900 ;;
esac

. "$source_dir/contestants.sh" # who is missing, and where jemalloc is
. "$source_dir/machine.sh"

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
trap 'exit 130' INT TERM
mkdir -p "$out" bench || die "cannot make $out"

# --- The contestants -------------------------------------------------------------------------

declare -A program=([polder]=bench/load-polder [plain]=bench/load-polder-plain)
for name in "${!program[@]}"; do
        [ -x "${program[$name]}" ] || die "no ${program[$name]} here: make ${program[$name]}"
done

want_package() { # PACKAGE: installs it, or is false
        [ $install = yes ] && [ "$(id -u)" = 0 ] && type -P apt-get >/dev/null || return
        echo "installing $1"
        DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends "$1" \
                >"$work/install.log" 2>&1
}

compile() { # NAME DEFINE FLAG…: the C loads, as bench/local.mk compiles them for Polder
        local name=$1 define=$2
        shift 2
        gcc -std=gnu11 -O2 -g -pthread -fno-strict-aliasing -D_GNU_SOURCE -D"$define" \
                -I"$source_dir/.." "$source_dir"/collectors/*.c -o "bench/load-$name" "$@" -lm \
                >"$work/$name.log" 2>&1 && program[$name]=bench/load-$name
}

compile_go() {
        type -P go >/dev/null || return
        (cd "$source_dir/collectors/go" && GO111MODULE=off GOCACHE=$build_dir/bench/.go \
                go build -o "$build_dir/bench/load-go" ./*.go) >"$work/go.log" 2>&1 &&
                program[go]=bench/load-go
}

contestant_missing() { # NAME PACKAGE
        missing[$1]="package $2 is missing, or its program does not compile"
        echo "left out: $1 (${missing[$1]})"
}

compile bdwgc MEMORY_BDWGC -lgc || { want_package libgc-dev && compile bdwgc MEMORY_BDWGC -lgc; } ||
        contestant_missing bdwgc libgc-dev
compile_go || { want_package golang-go && compile_go; } || contestant_missing go golang-go
compile jemalloc MEMORY_MANUAL -fno-builtin-malloc || die "the loads do not compile: $(head "$work/jemalloc.log")"
[ -r "${library[jemalloc]}" ] || want_package libjemalloc2 || contestant_missing jemalloc libjemalloc2

# The program of a contestant, in the array `command`; false if it is missing.
contestant_of() { # NAME
        case $1 in
        polder) command=("${program[polder]}") ;;
        polder-50) command=(env POLDER_GC_PERCENT=50 "${program[polder]}") ;;
        polder-young) command=(env POLDER_DEBUG=gctrace=1 POLDER_GENERATIONS=1 "${program[polder]}") ;;
        polder-full) command=(env POLDER_DEBUG=gctrace=1 POLDER_GENERATIONS=0 "${program[polder]}") ;;
        polder-plain) command=("${program[plain]}") ;;
        jemalloc) command=(env LD_PRELOAD="${library[jemalloc]}" "${program[jemalloc]}") ;;
        race-*) command=("bench/$1") ;;
        go-spins) command=("${program[go]:-}") ;;
        bdwgc | go) command=("${program[$1]:-}") ;;
        *) die "there is no contestant $1" ;;
        esac
        [ -n "${command[-1]}" ] && [ -z "${missing[$1]:-}" ]
}

# --- Results ---------------------------------------------------------------------------------

commit=$(git -C "$source_dir" describe --always --dirty 2>/dev/null || echo unknown)
raw=$work/raw.csv samples=$work/samples.csv latencies=$work/latencies.csv stops=$work/stops.csv
echo round,row,contestant,commit,name,value >"$raw"
echo round,row,contestant,seconds,rss_kib,measuring >"$samples"
echo round,row,contestant,us,count >"$latencies"
echo round,row,contestant,mib,us,stops,cycle_ms >"$stops"

note() { # ROUND ROW WHO NAME VALUE
        echo "$1,$2,$3,$commit,$4,$5" >>"$raw"
}

note_failure() { # ROUND ROW WHO STATUS
        note "$1" "$2" "$3" status "$4"
        echo "failed: $2 under $3 in round $1: $4"
}

note_pairs() { # ROUND ROW WHO: lines of NAME=VALUE on the standard input
        local word words
        while read -r -a words; do
                for word in "${words[@]}"; do
                        [[ $word != *=* ]] || note "$1" "$2" "$3" "${word%%=*}" "${word#*=}"
                done
        done
}

# What the cycles of a kind have freed, and in what time of its threads, by the lines of gctrace.
cycles_of() { # KIND LOG
        awk -v kind="$1:" '/^polder: gc .* sweep / && $5 == kind {
                        for (i = 5; i < NF; i++) {
                                if ($i == "heap") { split($(i + 1), heap, "->"); freed += heap[1] - heap[2] }
                                if ($i == "sweep" || $i == "cpu") ms += $(i + 1)
                        }
                        n++
                }
                END { if (n) printf "%s_cycles=%d %s_freed_mib=%.1f %s_ms=%.1f\n", name, n, name, freed, name, ms }' \
                name="$1" "$2"
}

note_run() { # ROUND ROW WHO STATUS LOG
        local key="$1,$2,$3"
        if [ "$4" -ne 0 ]; then
                note_failure "$1" "$2" "$3" "exit $4"
                sed '/^\(sample\|latency\|stop\|gap\) /d; s/^/        /' "$5" | head -n 5
                return
        fi
        note "$1" "$2" "$3" status ok
        grep -E '^(load|map)=' "$5" | tail -n 1 | note_pairs "$1" "$2" "$3"
        cycles_of young "$5" | note_pairs "$1" "$2" "$3"
        cycles_of concurrent "$5" | note_pairs "$1" "$2" "$3"
        sed -n "s/^sample seconds=\(.*\) rss_kib=\(.*\) measuring=\(.*\)/$key,\1,\2,\3/p" "$5" >>"$samples"
        sed -n "s/^latency us=\(.*\) count=\(.*\)/$key,\1,\2/p" "$5" >>"$latencies"
        sed -n "s/^stop mib=\(.*\) us=\(.*\) stops=\(.*\) cycle_ms=\([^ ]*\).*/$key,\1,\2,\3,\4/p" "$5" >>"$stops"
}

# --- Runs --------------------------------------------------------------------------------------

# A quarter of jemalloc's full speed, as far as it is known.
rate_now() {
        local found
        [ -z "$rate" ] || { echo "$rate"; return; }
        found=$(awk -F, '$2 == "cache" && $3 == "jemalloc" && $5 == "mops_s" { sum += $6; n++ }
                END { if (n) printf "%.0f", sum / n * 1e6 / 4 }' "$raw")
        [ -n "$found" ] || [ ! -r "$out/collectors-raw.csv" ] ||
                found=$(awk -F, '$2 == "cache" && $3 == "jemalloc" && $5 == "mops_s" { sum += $6; n++ }
                END { if (n) printf "%.0f", sum / n * 1e6 / 4 }' "$out/collectors-raw.csv")
        echo "${found:-250000}"
}

run_load() { # ROUND ROW WHO WORD…
        local round=$1 row=$2 who=$3 word words=() settings=() status=0 command
        shift 3
        contestant_of "$who" || return
        for word in "$@"; do
                case $word in
                markers=*) settings=(POLDER_WORKERS="${word#*=}" GC_MARKERS="${word#*=}" GOMAXPROCS="${word#*=}") ;;
                *@rate) words+=("${word%@*}$(rate_now)") ;;
                *@*) words+=("${word%@*}${sizes[${word#*@}]}") ;;
                *) words+=("$word") ;;
                esac
        done
        [ "$who" != go-spins ] || words+=(spin=1)
        "${program[jemalloc]}" touch count="${sizes[touch]}" >/dev/null
        env "${settings[@]}" timeout -s KILL $limit "${command[@]}" "${words[@]}" >"$work/log" 2>&1 || status=$?
        note_run "$round" "$row" "$who" $status "$work/log"
}

instructions() { # WORD…: of a run without collections
        env POLDER_GC=off timeout -s KILL $limit valgrind --tool=callgrind --callgrind-out-file=/dev/null \
                "$@" >"$work/log" 2>&1 || return
        sed -n 's/^==[0-9]*== Collected : \([0-9]*\).*/\1/p' "$work/log"
}

# So many instructions more in a run that is longer by COUNT operations.
instructions_each() { # COUNT NAME WORD…
        local count=$1 name=$2 once twice
        shift 2
        once=$(instructions "$@" "$name=$count") && twice=$(instructions "$@" "$name=$((2 * count))") &&
                [ -n "$once" ] && [ -n "$twice" ] && awk "BEGIN { printf \"%.2f\", ($twice - $once) / $count }"
}

# Of a loop, with Polder's stores and with plain ones.
count_pair() { # ROUND ROW WHO COUNT NAME WITH… -- WITHOUT…
        local key=("$1" "$2" "$3") count=$4 name=$5 words=() with plain
        shift 5
        while [ "$1" != -- ]; do
                words+=("$1")
                shift
        done
        shift
        with=$(instructions_each "$count" "$name" "${words[@]}") &&
                plain=$(instructions_each "$count" "$name" "$@") || return
        note "${key[@]}" status ok
        note "${key[@]}" instructions "$with"
        note "${key[@]}" plain_instructions "$plain"
}

count_stores() { # ROUND ROW
        count_pair "$1" "$2" count-stores 100000 count "${program[polder]}" stores -- \
                "${program[polder]}" stores mode=plain
}

count_cache() { # ROUND ROW
        count_pair "$1" "$2" count-cache 400000 operations "${program[polder]}" cache count=20000 -- \
                "${program[plain]}" cache count=20000
}

run_one() { # ROUND ROW WHO WORD…
        case $3 in
        count-stores) count_stores "$1" "$2" || note_failure "$1" "$2" "$3" "no count" ;;
        count-cache) count_cache "$1" "$2" || note_failure "$1" "$2" "$3" "no count" ;;
        *) run_load "$@" ;;
        esac
}

# --- The rows --------------------------------------------------------------------------------

rows=() skipped=()
declare -A who_of what_of
can_run() { # ROW
        case $1 in
        barrier) type -P valgrind >/dev/null ;;
        map-*) [ -x bench/race-polder ] && [ -x bench/race-rcu ] && [ -x bench/race-locks ] ;;
        esac
}

read_rows() {
        local row who what
        while read -r row who what; do
                # shellcheck disable=SC2053 # a pattern it is
                [[ $row && $row != \#* && $row == $only ]] || continue
                who=${who//all/polder,jemalloc,bdwgc,go}
                who=${who//collectors/polder,bdwgc,go}
                who_of[$row]=${who//,/ } what_of[$row]=$what
                if can_run "$row"; then
                        rows+=("$row")
                else
                        skipped+=("$row")
                        echo "skipped: $row (needs $([ "$row" = barrier ] && echo valgrind || echo "the programs of bench/map_race"))"
                fi
        done <"$source_dir/collectors/rows"
        [ ${#rows[@]} -gt 0 ] || die "there is nothing to run: no row $only"
}

# Counts are the same in every round; and stops do not differ much.
is_once() { # ROW
        [ "$1" = barrier ] || [ "$1" = stops ]
}

round_of_rows() { # ROUND
        local row turn=$1 contestants i n
        for row in "${rows[@]}"; do
                if [ "$1" -gt 1 ] && is_once "$row"; then continue; fi
                read -r -a contestants <<<"${who_of[$row]}"
                n=${#contestants[@]}
                for ((i = 0; i < n; i++)); do
                        # shellcheck disable=SC2086 # words they are
                        run_one "$1" "$row" "${contestants[(turn + i) % n]}" ${what_of[$row]}
                done
                turn=$((turn + 1))
        done
}

# --- The card, and what is kept ----------------------------------------------------------------

version() { # NAME
        case $1 in
        bdwgc) dpkg-query -W -f '${Package} ${Version}' libgc1 2>/dev/null || echo unknown ;;
        go) go version ;;
        jemalloc) version_of "${library[jemalloc]}" ;;
        esac
}

card() {
        local who
        machine_card "bench/collectors.sh$([ $size = default ] || echo " --$size") --rounds $rounds --only '$only'"
        for who in jemalloc bdwgc go; do
                if [ -n "${missing[$who]:-}" ]; then
                        printf '%-10s left out: %s\n' "$who" "${missing[$who]}"
                else
                        printf '%-10s %s\n' "$who" "$(version "$who")"
                fi
        done
        [ ${#skipped[@]} -eq 0 ] || echo "skipped    ${skipped[*]}"
}

# Lines of rows that were not run now, from the results that there are.
keep_others() { # FILE NAME
        [ $keep = yes ] && [ -r "$out/collectors-$2" ] || return
        awk -F, -v rows="${rows[*]}" 'BEGIN { n = split(rows, row, " "); for (i = 1; i <= n; i++) now[row[i]] = 1 }
                FNR > 1 && !($2 in now)' "$out/collectors-$2" >>"$1"
}

read_rows
echo "${#rows[@]} rows, $rounds rounds"
run_rounds
card >"$out/collectors-machine.txt"
for file in raw samples latencies stops; do
        keep_others "$work/$file.csv" $file.csv
        cp "$work/$file.csv" "$out/collectors-$file.csv" || die "cannot write into $out"
done
python3 -B "$source_dir/collectors_report.py" "$out" || die "no report"
