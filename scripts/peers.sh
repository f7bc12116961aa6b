#!/usr/bin/env bash
# Makes the environment of the peers that BENCH_PEERS=1 measures: large packages, which nothing else here needs.
set -euo pipefail
cd "$(dirname "$0")/.."

venv=.venv-peers
packages=("pipecat-ai[openai,websocket]==1.14.0" "uvicorn" "fastapi")
[ -x "$venv/bin/python" ] || "${PYTHON:-python3}" -m venv "$venv"
echo "Installing ${packages[*]} into $venv (some minutes) ..."
"$venv/bin/python" -m pip install --disable-pip-version-check --no-input --quiet "${packages[@]}"
