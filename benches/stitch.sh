#!/usr/bin/env bash
# How much of what really happened is found out, and what does that cost at ingest?
# Goals and figures: docs/performance.md. Each play starts a server of its own on free ports and removes its folder.
#
# usage: benches/stitch.sh path/to/hopline
set -euo pipefail
hopline=$1

echo "== precision and recall, seed 1 and a fresh one: every goal is reached"
code=0
"$hopline" bench stitch || code=$?
echo "== stitching costs at most 15 % more CPU time at ingest"
"$hopline" bench stitch --cost 5 --orders 3000
exit "$code"
