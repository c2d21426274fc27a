#!/usr/bin/env bash
# The whole way of a span, from an export to a synced log and sorted Parquet files: what does it cost?
# Goals and figures: docs/performance.md. Each run starts a server of its own on free ports and removes its folder.
#
# usage: benches/ingest.sh path/to/hopline
set -euo pipefail
hopline=$1

run() {
    echo "== $1"
    shift
    "$hopline" bench ingest "$@"
}

export HOPLINE_STORAGE__COMPACT=false
run "512 spans a request, gRPC with gzip: at least 120,000 spans per CPU-second, 55 bytes a span" \
    --spans 512 --requests 6000
run "3 spans a request, gRPC with gzip: at least 40,000 spans per CPU-second" \
    --spans 3 --requests 200000 --connections 4 --concurrency 16
run "half load: acknowledged within 25 ms (p99)" \
    --spans 512 --rate 60000 --seconds 20
run "HTTP with JSON and gzip" --transport http-json --spans 512 --requests 1000
unset HOPLINE_STORAGE__COMPACT
run "512 spans a request, compaction included" --spans 512 --requests 6000
