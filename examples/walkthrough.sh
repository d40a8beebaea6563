#!/usr/bin/env bash
# Every subcommand on the example log; README.md beside this file explains each step.
#   bash examples/walkthrough.sh [FOLDER]
# Run it from the root of the repository, where `iadsr` is on the PATH. Everything is written into FOLDER, which has
# to be new or empty (default: a new temporary folder). Settings can be changed from outside: IADSR_ENCODER=tfidf.
set -euo pipefail

out=${1:-$(mktemp -d)}
mkdir -p "$out"
export IADSR_CACHE_DIR=${IADSR_CACHE_DIR:-$out/cache}

# Show a command as it can be typed, then run it. An empty IFS keeps a folder with a blank in its name whole.
IFS=
step() {
  printf '\n$ %s\n' "${1//\$out/$out}"
  eval "$1"
}

echo "Everything is written into $out"

# 1. The log without what does not belong; what went, and why; one user's history.
step 'iadsr denoise examples/shop.csv -o $out/clean.csv --removed $out/removed.csv'
step 'head -n 4 $out/removed.csv'
step 'iadsr denoise examples/shop.csv --explain-user u0634'

# 2. Every row with its score; here the truth is known.
step 'iadsr denoise examples/shop.csv --annotate -o $out/all.parquet --quiet'
step 'python examples/compare.py $out/all.parquet'

# 3. In a pipeline: rows from stdin to stdout, and the summary for a check.
step 'iadsr denoise - --quiet < examples/shop.csv | cmp - $out/clean.csv'
step 'iadsr denoise examples/shop.csv --dry-run --json > $out/summary.json'
step 'python examples/check.py $out/summary.json --max-removed 0.1'

# 4. The published method: item texts to vectors, a recommender of the log, the two aligned, and their scores.
step 'iadsr embed examples/items.csv -o $out/vectors'
step 'iadsr pretrain examples/shop.csv -o $out/gru4rec'
step 'iadsr align examples/shop.csv --pretrained $out/gru4rec --vectors $out/vectors -o $out/model'
step 'iadsr denoise examples/shop.csv --model $out/model --budget 5% --annotate -o $out/published.parquet --quiet'
step 'python examples/compare.py $out/published.parquet'

# 5. How well the recommender knows the log.
step 'iadsr evaluate examples/shop.csv --model $out/gru4rec -o $out/report'
