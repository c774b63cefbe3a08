# shellcheck shell=bash
# options.sh: what the command lines of run.sh, collectors.sh and callgrind.sh have in common.
# Sourced by them, with the usage in the comment at their top.

source_dir=$(cd "$(dirname "$0")" && pwd)
build_dir=$PWD
extra=() # of --lib, which each of them takes

die() {
        echo "${0##*/}: $*" >&2
        exit 1
}

usage() { # STATUS
        sed -n '/^# usage:/,/^#$/s/^#\( usage:\)\? \+//p' "$0"
        exit "$1"
}

# Sets what the arrays `flags` ([--FLAG]=NAME=VALUE) and `values` ([--OPTION]=NAME) say.
parse_options() { # ARGUMENT…
        while [ $# -gt 0 ]; do
                [ "$1" != --help ] || usage 0
                if [[ -v flags[$1] ]]; then
                        declare -g "${flags[$1]}"
                        shift
                        continue
                fi
                [ $# -gt 1 ] || usage 2 >&2
                if [ "$1" = --lib ]; then
                        extra+=("$2")
                elif [[ -v values[$1] ]]; then
                        declare -g "${values[$1]}=$2"
                else
                        usage 2 >&2
                fi
                shift 2
        done
}
