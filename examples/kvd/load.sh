# load.sh: kvd and kvd-malloc under redis-benchmark. Sourced by demo.sh and bench/kvd_pair,
# who define: die WORDS, progress WORDS; servers (the folder that has both), threads, keys,
# sizes (of values, in bytes), pipeline (requests a client sends at once), work (a folder).
# WHO is polder or jemalloc.

declare -A pid port
children=() # redis-benchmarks under way

# start WHO
start() {
        local server=kvd try
        [ "$1" = jemalloc ] && server=kvd-malloc
        : >"$work/$1.log"
        "$servers/$server" --port 0 --threads "$threads" >"$work/$1.log" 2>&1 &
        pid[$1]=$!
        for ((try = 0; try < 100; try++)); do
                port[$1]=$(sed -n 's/.* port \([0-9]*\), .*/\1/p' "$work/$1.log")
                [ -n "${port[$1]}" ] && return
                sleep 0.1
        done
        die "the server does not start: $(cat "$work/$1.log")"
}

stop() {
        kill "${pid[$1]}"
        wait "${pid[$1]}" || die "the server over $1 ended badly: $(cat "$work/$1.log")"
        unset "pid[$1]"
}

# snapshot WHO: all of INFO as key=value, and the machine's processor time, in ticks
snapshot() {
        redis-cli -p "${port[$1]}" info | tr -d '\r' | sed -n 's/^\([a-z_0-9]*\):/\1=/p'
        awk '/^cpu / { for (i = 2; i <= 9; i++) all += $i
                       print "machine_ticks=" all; print "machine_steal=" $9 }' /proc/stat
}

# bench WHO NAME ARGUMENTS...: in the background; its report goes to a file of that name
bench() {
        redis-benchmark -p "${port[$1]}" --precision 3 -r "$keys" "${@:3}" >"$work/$2.bench" 2>&1 &
        children+=("$!")
}

# gets WHO NAME COUNT CLIENTS
gets() {
        bench "$1" "$2.get" -t get -n "$3" -c "$4" -P "$pipeline"
}

# sets WHO NAME COUNT CLIENTS: a share of each size
sets() {
        local size nsizes=${#sizes[@]}
        for size in "${sizes[@]}"; do
                bench "$1" "$2.set.$size" -t set -d "$size" -n $(($3 / nsizes)) \
                        -c $(($4 / nsizes)) -P "$pipeline"
        done
}

# commands WHO: how many it has served
commands() {
        redis-cli -p "${port[$1]}" info | sed -n 's/^total_commands_processed:\([0-9]*\).*/\1/p'
}

# await WHO WORDS: waits for the benches, showing how fast the server goes
await() {
        local before now job
        before=$(commands "$1")
        for job in "${children[@]}"; do
                while kill -0 "$job" 2>/dev/null; do
                        sleep 0.5
                        now=$(commands "$1")
                        [ -n "$now" ] || die "the server over $1 is gone: $(cat "$work/$1.log")"
                        progress "$2 $(((now - before) / 500)) thousand requests/s"
                        before=$now
                done
                wait "$job" || die "redis-benchmark failed: $(tail -n 3 "$work"/*.bench)"
        done
        children=()
}

# fill WHO: every key is set about once for each size
fill() {
        local size
        for size in "${sizes[@]}"; do
                bench "$1" "fill.$size" -t set -d "$size" -n "$keys" -P 32
        done
        await "$1" "filling:"
}

# latency SHARE REPORT...: of all requests of these reports together, in milliseconds.
# Each report holds points of its distribution; they are added up.
latency() {
        local share=$1
        shift
        cat "$@" | tr '\r' '\n' | awk '
                /Latency by percentile/ { run++ }
                /cumulative count/ {
                        count = $NF
                        sub(/\)/, "", count)
                        print $3, run, count
                }' | sort -g | awk -v share="$share" '
                { value[NR] = $1; run[NR] = $2; count[NR] = $3
                  if ($3 > most[$2]) most[$2] = $3 }
                END { for (r in most) all += most[r]
                      for (i = 1; i <= NR; i++) {
                              if (count[i] > now[run[i]]) {
                                      sum += count[i] - now[run[i]]
                                      now[run[i]] = count[i]
                              }
                              if (sum >= share * all) break
                      }
                      printf "%.3f", value[i] }'
}

# took REPORT...: seconds that passed until the last of them, which ran at once, was done
took() {
        sed -n 's/.* requests completed in \([0-9.]*\) seconds.*/\1/p' "$@" | sort -g | tail -n 1
}

# grown KEY NAME...: by how much, over the pairs of files NAME.before and NAME.after
grown() {
        local key=$1 name
        shift
        for name in "$@"; do
                sed -n "s/^$key=/- /p" "$work/$name.before"
                sed -n "s/^$key=/+ /p" "$work/$name.after"
        done | awk '{ sum += $1 == "+" ? $2 : -$2 } END { printf "%.6f", sum }'
}

figure() {
        awk "BEGIN { printf \"$1\", $2 }"
}

ratio() {
        figure %.2f "$1 / $2"
}
