#!/usr/bin/env bash
# Holds the direction of dependencies (ARCHITECTURE.md, "Rooms"): who may depend on whom, and who must not depend on what.
set -euo pipefail
status=0

broken() {
    echo "boundary broken: $1" >&2
    status=1
}

# tree CRATE: what it reaches through its normal dependencies, one a line.
tree() {
    cargo tree --offline --locked -e normal -p "$1" --prefix none
}

# allow CRATE [ROOM...]: of our own crates, it reaches these and no others.
allow() {
    local crate=$1 room
    shift
    for room in $(tree "$crate" | awk '/^hopline/ {print $1}' | sort -u); do
        if [ "$room" != "$crate" ] && [[ " $* " != *" ${room#hopline-} "* ]]; then broken "$crate depends on $room"; fi
    done
}

# refuse CRATE DEPENDENCY...: it reaches none of these.
refuse() {
    local crate=$1 found dependency
    shift
    found=$(tree "$crate")
    for dependency in "$@"; do
        if grep -qE "^$dependency v" <<<"$found"; then broken "$crate depends on $dependency"; fi
    done
}

allow hopline-proto
allow hopline-model
allow hopline-ui
allow hopline-stitch model proto
allow hopline-storage model
allow hopline-collector model proto stitch storage
allow hopline-query model proto stitch storage

for crate in hopline-proto hopline-model hopline-stitch; do refuse "$crate" tokio object_store parquet hyper datafusion; done
for crate in hopline-storage hopline-collector; do refuse "$crate" datafusion; done
refuse hopline-proto arrow-array

# No clock, no I/O: what the standard library would give is named nowhere in these rooms but in tests.
impure='std::(fs|net|process|env|io|thread)\b|SystemTime|Instant::|\be?println!'
for room in model stitch; do
    found=$(grep -rnE "$impure" "$room/src" --include='*.rs' --exclude='tests.rs' --exclude-dir='tests' || true)
    if [ -n "$found" ]; then broken "$room is pure, but names: $found"; fi
done

# Nothing but query, and src which starts it, waits for DataFusion.
inverted=$(cargo tree --offline --locked -e normal --workspace -i datafusion --depth 1 --prefix none)
waiting=$(awk '/^hopline/ {print $1}' <<<"$inverted" | sort -u)
if [ "$waiting" != "hopline-query" ]; then broken "these name DataFusion: $waiting"; fi
if [ $status = 0 ]; then echo "boundaries: hold"; fi
exit $status
