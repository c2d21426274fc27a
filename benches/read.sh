#!/usr/bin/env bash
# How long does one wait for the functions at a glance, and for the flow of an order?
# Goals and figures: docs/performance.md. Each part starts a server of its own on free ports and removes its folder.
#
# usage: benches/read.sh path/to/hopline
set -euo pipefail
hopline=$1

code=0
echo "== 1,000 functions over 14 days, a million invocations: 7 days of all functions within 100 ms"
"$hopline" bench read overview || code=$?
echo "== a flow of at least 20 traces over 5 hops among 10 million spans: within 50 ms"
"$hopline" bench read flow || code=$?
exit "$code"
