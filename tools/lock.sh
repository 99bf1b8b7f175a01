#!/usr/bin/env bash
# Rewrites constraints.txt from a fresh environment: what resolves today, local version suffixes cut.
set -euo pipefail
cd "$(dirname "$0")/.."
venv=$(mktemp -d)
trap 'rm -rf "$venv"' EXIT
python3.11 -m venv "$venv"
"$venv/bin/pip" install --quiet torch==2.13.0
"$venv/bin/pip" install --quiet ".[dev]"
"$venv/bin/pip" freeze --exclude storelift | sed 's/+[a-z0-9.]*$//' >constraints.txt
