#!/bin/sh
# make_static.sh OUTPUT DIRECTORY ARCHIVE...: the first archive, and what it needs of the others, as a
# static library of one object whose only global names begin with pn_.
set -eu
out=$1 dir=$2 first=$3
shift 3
mkdir -p "$dir"
ld -r -o "$dir/all.o" --whole-archive "$first" --no-whole-archive --start-group "$@" --end-group
objcopy --wildcard --keep-global-symbol='pn_*' "$dir/all.o" "$dir/pannier.o"
rm -f "$out"
ar rcsD "$out" "$dir/pannier.o"
