#!/bin/bash
# run.sh: Polder's malloc beside glibc's, jemalloc, mimalloc and tcmalloc, on the workloads of
# bench/rows. In the build folder, after make:
#
# usage: ../bench/run.sh [--quick] [--rounds N] [--only PATTERN] [--threads N]
#                        [--lib NAME=PATH] [--out DIR]
#
#   --quick      a quarter of the operations, one round: do all run?
#   --rounds     5 if not given
#   --only       rows whose names match the pattern, as of a shell's: 'pair-*'
#   --threads    instead of 2 in the rows of many threads; an even number
#   --lib        a contestant's library, or one contestant more
#   --out        where the results go: bench/results beside this script, but for a quick or
#                partial run, which writes into bench/results of the build folder
#
# In every round each row is run by all contestants, one after another, and each row and round
# begins with another one, so that what else the machine does hits all alike. A contestant is
# an unmodified program, bench/workload or a real one, with the library preloaded; one whose
# library is missing is named and left out. A run that fails, takes more than two minutes, or
# whose output is not the others', is counted and has no figures. What is written: raw.csv,
# samples.csv (memory over time), machine.txt, table.txt, plot.svg, memory.svg.
#
# Debian packages: libjemalloc2 libmimalloc2.0 libtcmalloc-minimal4 python3; for the real
# programs, each left out when it is not there: redis-server redis-tools g++ sqlite3 git perl
# xz-utils.
set -u

. "$(dirname "$0")/options.sh"
quick=no rounds='' only='*' threads=2 out='' divide=1 limit=120
# shellcheck disable=SC2034 # parse_options reads them
declare -A flags=([--quick]=quick=yes) \
        values=([--rounds]=rounds [--only]=only [--threads]=threads [--out]=out)
parse_options "$@"
[ $quick = no ] || divide=4
rounds=${rounds:-$([ $quick = yes ] && echo 1 || echo 5)}
[[ $rounds =~ ^[1-9][0-9]*$ && $threads =~ ^[0-9]*[02468]$ ]] || usage 2 >&2
if [ -z "$out" ]; then
        out=$source_dir/results
        [ "$quick$only" = 'no*' ] || out=$build_dir/bench/results
fi
for program in bench/workload bench/launch; do
        [ -x $program ] || die "no $program here: make $program"
done

. "$source_dir/contestants.sh"
. "$source_dir/machine.sh"
. "$source_dir/programs"
choose_contestants

# A program may be linked with an allocator: then the C library's has to be preloaded too.
c_library=$(ldd bench/launch | sed -n 's/.*libc\.so\.6 => \([^ ]*\).*/\1/p')

work=$(mktemp -d)
cleanup() {
        local processes
        mapfile -t processes < <(jobs -p)
        [ ${#processes[@]} -eq 0 ] || kill "${processes[@]}" 2>/dev/null
        wait 2>/dev/null
        rm -rf "$work"
}
trap cleanup EXIT
trap 'exit 130' INT TERM

mkdir -p "$out" || die "cannot make $out"
raw=$work/raw.csv samples=$work/samples.csv
echo round,row,how,contestant,status,ns,wall_ms,cpu_ms,peak_kib,end_kib >"$raw"
echo round,row,contestant,seconds,live_kib,rss_kib >"$samples"

field() { # NAME FILE: of a line of NAME=VALUE
        sed -n "s/^\(.* \)\?$1=\([^ ]*\).*/\2/p" "$2" | tail -n 1
}

note_run() { # ROUND ROW HOW WHO STATUS [NS WALL_MS CPU_MS PEAK_KIB END_KIB]
        echo "$1,$2,$3,$4,$5,${6:-},${7:-},${8:-},${9:-},${10:-}" >>"$raw"
        [ "$5" = ok ] || echo "failed: $2 under $4 in round $1: $5"
}

# --- One run of each kind ------------------------------------------------------------------

workload() { # WHO LOG ARGUMENT…
        local who=$1 log=$2
        shift 2
        (preloaded "${library[$who]}" timeout -s KILL $limit "$build_dir/bench/workload" "$@" \
                divide=$divide) >"$log" 2>&1
}

note_workload() { # ROUND ROW HOW WHO STATUS LOG
        local figures=() name
        if [ "$5" -ne 0 ]; then
                note_run "$1" "$2" "$3" "$4" "exit $5"
                sed -n '/^sample /d; s/^/        /; 1,5p' "$6"
                return
        fi
        for name in ns wall_ms cpu_ms peak_kib end_kib; do
                figures+=("$(field $name "$6")")
        done
        [ "$3" != memory ] || figures=('' '' '' "${figures[3]}" "${figures[4]}")
        note_run "$1" "$2" "$3" "$4" ok "${figures[@]}"
        sed -n "s/^sample seconds=\([^ ]*\) live_kib=\([^ ]*\) rss_kib=\([^ ]*\)/$1,$2,$4,\1,\2,\3/p" \
                "$6" >>"$samples"
}

measured() { # LIBRARY TIMES PROGRAM…: its figures in the file `measure`
        timeout -s KILL $limit "$build_dir/bench/launch" "$@" 3>measure
}

program() { # ROUND ROW WHO NAME
        local library_used=${library[$3]} status=0 wall cpu
        [ "$library_used" != - ] || library_used=$c_library
        cd "$work/$4" || exit
        rm -f measure
        "$4" "$library_used" >output 2>errors || status=$?
        cksum <output >sum
        [ -e expected ] || [ $status -ne 0 ] || cp sum expected
        if [ $status -ne 0 ]; then
                note_run "$1" "$2" program "$3" "exit $status"
                sed -n '1,5s/^/        /p' errors
        elif ! cmp -s sum expected; then
                note_run "$1" "$2" program "$3" "another output"
        else
                wall=$(awk "BEGIN { print 1e3 * $(field wall_s measure) }")
                cpu=$(awk "BEGIN { print 1e3 * $(field cpu_s measure) }")
                note_run "$1" "$2" program "$3" ok "$(awk "BEGIN { print 1e6 * $wall }")" "$wall" "$cpu" \
                        "$(field peak_kib measure)" ''
        fi
        cd "$build_dir" || exit
}

# --- The rows --------------------------------------------------------------------------------

rows=() skipped=()
declare -A how what
prepare() { # NAME: false if it cannot run here
        local need
        for need in $("$1_needs"); do
                type -P "$need" >/dev/null || return
        done
        mkdir -p "$work/$1"
        (cd "$work/$1" && "$1_prepare") >"$work/$1/prepare.log" 2>&1
}

read_rows() {
        local row kind rest
        while read -r row kind rest; do
                # shellcheck disable=SC2053 # a pattern it is
                [[ $row && $row != \#* && $row == $only ]] || continue
                how[$row]=$kind
                what[$row]=${rest//threads=2/threads=$threads}
                if [ "$kind" = program ] && ! prepare "$rest"; then
                        skipped+=("$row")
                        echo "skipped: $row ($("${rest}_needs") or its input is missing)"
                else
                        rows+=("$row")
                fi
        done <"$source_dir/rows"
        [ ${#rows[@]} -gt 0 ] || die "no row is called $only"
}

in_turn() { # FIRST: the contestants, beginning with that one
        local n=${#contestants[@]} i
        for ((i = 0; i < n; i++)); do
                echo "${contestants[($1 + i) % n]}"
        done
}

# All that mostly waits, together; memory does not depend on who else runs.
memory_rows() { # ROUND
        local row who logs=$work/memory
        declare -A process=()
        mkdir -p "$logs"
        for row in "${rows[@]}"; do
                [ "${how[$row]}" = memory ] || continue
                for who in "${contestants[@]}"; do
                        # shellcheck disable=SC2086 # arguments they are
                        workload "$who" "$logs/$row.$who" ${what[$row]} &
                        process[$row,$who]=$!
                done
        done
        for row in "${rows[@]}"; do
                [ "${how[$row]}" = memory ] || continue
                for who in "${contestants[@]}"; do
                        wait "${process[$row,$who]}"
                        note_workload "$1" "$row" memory "$who" $? "$logs/$row.$who"
                done
        done
}

round_of_rows() { # ROUND
        local row who turn=$1
        for row in "${rows[@]}"; do
                for who in $(in_turn $((turn++))); do
                        case ${how[$row]} in
                        time)
                                # shellcheck disable=SC2086
                                workload "$who" "$work/log" ${what[$row]}
                                note_workload "$1" "$row" time "$who" $? "$work/log"
                                ;;
                        program) program "$1" "$row" "$who" "${what[$row]}" ;;
                        esac
                done
        done
        memory_rows "$1"
}

# --- The machine -----------------------------------------------------------------------------

machine() {
        local who
        machine_card "bench/run.sh$([ $quick = no ] || echo ' --quick') --rounds $rounds --only '$only' --threads $threads"
        for who in "${contestants[@]}"; do
                printf '%-10s %s\n' "$who" "$(version_of "${library[$who]}")"
        done
        for who in "${!missing[@]}"; do
                printf '%-10s left out: %s\n' "$who" "${missing[$who]}"
        done
        [ ${#skipped[@]} -eq 0 ] || echo "skipped    ${skipped[*]}"
}

read_rows
echo "${#rows[@]} rows, $rounds rounds, of ${contestants[*]}"
run_rounds
machine >"$out/machine.txt"
cp "$raw" "$samples" "$out/" || die "cannot write into $out"
python3 -B "$source_dir/report.py" "$out" || die "no report"
