#!/usr/bin/env bash
# Pins requirements*.in in requirements*.txt: wheels only, for every Python that the project supports.
set -euo pipefail
cd "$(dirname "$0")/.."

for name in requirements requirements-local requirements-dev requirements-bench; do
    constraint=()
    [ "$name" = requirements ] || constraint=(--constraint requirements.txt)
    .venv/bin/python -m uv pip compile --quiet --universal --python-version 3.11 --only-binary :all: \
        --custom-compile-command "make requirements" --no-emit-index-url --no-emit-find-links \
        ${constraint[@]+"${constraint[@]}"} "$@" "$name.in" -o "$name.txt"
done
