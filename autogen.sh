#!/bin/sh
# Makes configure and Makefile.in, which are not kept in git.
set -e
cd "$(dirname "$0")"
for tool in autoreconf automake libtoolize pkg-config; do
    command -v $tool >/dev/null ||
        { echo "autogen.sh: $tool is missing (Debian packages: autoconf automake libtool pkgconf)" >&2; exit 1; }
done
exec autoreconf --install --warnings=all,no-portability,no-obsolete
