# shellcheck shell=bash disable=SC2154
# machine.sh: on what it was measured. Sourced after options.sh.

ticks() { # steal, all
        awk '/^cpu / { for (i = 2; i <= 9; i++) all += $i; print $9, all; exit }' /proc/stat
}

version_of() { # LIBRARY
        local package
        if [ "$1" = - ]; then
                ldd --version | sed -n '1s/.* //p'
        elif package=$(dpkg-query -S "$1" "$(readlink -f "$1")" 2>/dev/null | sed -n '1s/:.*//p') && [ -n "$package" ]; then
                dpkg-query -W -f '${Package} ${Version}' "$package"
        else
                echo "${1#"$build_dir/"}"
        fi
}

# All of them, and for machine_card what else the machine did meanwhile: ticks before and after,
# and the load before.
run_rounds() {
        local round before load began=$SECONDS
        before=$(ticks) load=$(cut -d' ' -f1 /proc/loadavg)
        for ((round = 1; round <= rounds; round++)); do
                round_of_rows $round
                echo "round $round of $rounds: done after $((SECONDS - began)) s"
        done
        # shellcheck disable=SC2207,SC2206 # two words each
        meanwhile=($before $(ticks) "$load")
}

machine_card() { # COMMAND
        echo "date       $(date -u '+%Y-%m-%d %H:%M UTC')"
        echo "commit     $(git -C "$source_dir" describe --always --dirty 2>/dev/null || echo unknown)"
        echo "command    $1"
        echo "CPU        $(sed -n 's/^model name[^:]*: //p' /proc/cpuinfo | head -n 1), $(nproc) cores"
        echo "memory     $(awk '/^MemTotal/ { printf "%.0f GiB", $2 / 1048576 }' /proc/meminfo)"
        echo "kernel     $(uname -sr)"
        echo "huge pages THP $(sed 's/.*\[\(.*\)\].*/\1/' /sys/kernel/mm/transparent_hugepage/enabled 2>/dev/null || echo none), pool $(cat /proc/sys/vm/nr_hugepages)"
        echo "steal      $(awk "BEGIN { printf \"%.2f\", 100 * (${meanwhile[2]} - ${meanwhile[0]}) / (${meanwhile[3]} - ${meanwhile[1]}) }") % of the CPU time; load ${meanwhile[4]} before, $(cut -d' ' -f1 /proc/loadavg) after"
}
