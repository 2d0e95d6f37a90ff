#!/bin/sh
# make_static.sh OUTPUT DIRECTORY OWN ALONE ARCHIVE...: the first two archives, and what they need of
# the others, as a static library of one object whose only global names begin with pn_.
set -eu
out=$1 dir=$2 own=$3 alone=$4
shift 4
mkdir -p "$dir"
ld -r -o "$dir/all.o" --whole-archive "$own" "$alone" --no-whole-archive --start-group "$@" --end-group
objcopy --wildcard --keep-global-symbol='pn_*' "$dir/all.o" "$dir/pannier.o"
rm -f "$out"
ar rcsD "$out" "$dir/pannier.o"
