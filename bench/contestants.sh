# shellcheck shell=bash disable=SC2034,SC2154
# contestants.sh: who is measured, and where each one's library is. Sourced after
# options.sh. has_malloc needs bench/workload in the build folder.
#
# The libraries are Debian's, as they are and with their defaults. Another one, or another
# place, is given as --lib NAME=PATH.

declare -A library missing

libraries=/usr/lib/$(gcc -print-multiarch 2>/dev/null || echo x86_64-linux-gnu)
contestants=(glibc jemalloc mimalloc tcmalloc polder)
library[glibc]=-
library[jemalloc]=$libraries/libjemalloc.so.2
library[mimalloc]=$libraries/libmimalloc.so.2
library[tcmalloc]=$libraries/libtcmalloc_minimal.so.4
library[polder]=$build_dir/.libs/libpolder-malloc.so

add_contestant() { # NAME=PATH
        local name=${1%%=*}
        [[ $1 == ?*=?* ]] || return
        [ -n "${library[$name]:-}" ] || contestants+=("$name")
        library[$name]=$(readlink -f "${1#*=}")
}

for pair in "${extra[@]}"; do
        add_contestant "$pair" || usage 2 >&2
done

preloaded() { # LIBRARY COMMAND…: replaces the (sub)shell by the command
        if [ "$1" = - ]; then
                unset LD_PRELOAD
        else
                export LD_PRELOAD=$1
        fi
        shift
        exec "$@"
}

# Is malloc really that library's? The dynamic linker only warns when it finds none.
has_malloc() { # NAME
        local object place
        [ "${library[$1]}" = - ] && return
        [ -r "${library[$1]}" ] || return
        while read -r _ object; do
                place=$(readlink -f "$object")
                [ "$place" = "$(readlink -f "${library[$1]}")" ] || return
        done < <(preloaded "${library[$1]}" "$build_dir/bench/workload" where)
        [ -n "${place:-}" ]
}

# Leaves in contestants those that can run, and in missing why the others cannot.
choose_contestants() {
        local name present=()
        for name in "${contestants[@]}"; do
                if has_malloc "$name"; then
                        present+=("$name")
                else
                        missing[$name]="no malloc in ${library[$name]}"
                        echo "left out: $name (${missing[$name]})"
                fi
        done
        contestants=("${present[@]}")
}
