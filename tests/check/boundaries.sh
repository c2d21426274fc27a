#!/usr/bin/env bash
# Holds the direction of dependencies (ARCHITECTURE.md, "Rooms"): who may not depend on what.
set -euo pipefail
status=0

# refuse CRATE DEPENDENCY: CRATE must not reach DEPENDENCY through its normal dependencies.
refuse() {
    local tree
    tree=$(cargo tree --offline --locked -e normal -p "$1" --prefix none)
    if grep -qE "^$2 v" <<<"$tree"; then
        echo "boundary broken: $1 depends on $2" >&2
        status=1
    fi
}

for crate in hopline-proto hopline-model hopline-stitch hopline-storage hopline-collector; do
    refuse "$crate" datafusion
    refuse "$crate" hopline-query
done
for crate in hopline-proto hopline-model hopline-stitch; do
    for dependency in tokio object_store hopline-storage hopline-collector; do refuse "$crate" "$dependency"; done
done
refuse hopline-proto arrow-array
refuse hopline-proto hopline-model
refuse hopline-model hopline-proto
refuse hopline-storage hopline-stitch
refuse hopline-storage hopline-collector
refuse hopline-query hopline-collector

# Nothing but query, and src which starts it, waits for DataFusion.
inverted=$(cargo tree --offline --locked -e normal --workspace -i datafusion --depth 1 --prefix none)
waiting=$(awk '/^hopline/ {print $1}' <<<"$inverted" | sort -u)
if [ "$waiting" != "hopline-query" ]; then
    echo "boundary broken: these name DataFusion: $waiting" >&2
    status=1
fi
if [ $status = 0 ]; then echo "boundaries: hold"; fi
exit $status

