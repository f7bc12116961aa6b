#!/usr/bin/env bash
# Makes the virtual environment and installs what `app`, `dev` or `bench` needs, if that changed since the last time.
set -euo pipefail
cd "$(dirname "$0")/.."

level=${1:-app}
venv=.venv
files=(requirements.txt requirements-local.txt)
[ "$level" = app ] || files+=(requirements-dev.txt)
[ "$level" != bench ] || files+=(requirements-bench.txt)
stamp=$venv/installed-$level
log=$venv/install.log

fail() {
    echo "$1" >&2
    exit 1
}

version_of() {
    "$1" -c 'import sys; print("%d.%02d" % sys.version_info[:2])' 2>/dev/null
}

# The speech packages have wheels for 3.11 to 3.13; a newer Python is tried only if there is no other.
find_python() {
    local each version newer=""
    for each in ${PYTHON:-python3 python3.13 python3.12 python3.11 python3.14 python3.15}; do
        version=$(version_of "$each") || continue
        case $version in
        3.11 | 3.12 | 3.13) echo "$each" && return ;;
        3.1[4-9] | 3.[2-9][0-9]) newer=${newer:-$each} ;;
        esac
    done
    echo "$newer"
}

make_environment() {
    local python
    python=$(find_python)
    [ -n "$python" ] ||
        fail "Answerline needs Python 3.11 or newer: install it (Debian, Ubuntu: apt install python3 python3-venv), or name it, as in PYTHON=python3.12 make"
    "$python" -c 'import venv, ensurepip' 2>/dev/null ||
        fail "This Python cannot make virtual environments: install the rest of it (Debian, Ubuntu: apt install python3-venv)"
    rm -rf "$venv"
    "$python" -m venv "$venv" || fail "No virtual environment could be made in $venv: is there room, and may this user write here?"
}

# One line instead of pip's many: what went wrong, and what to do about it.
explain() {
    local package
    package=$(sed -n 's/.*No matching distribution found for \([^ ]*\).*/\1/p' "$log" | head -n 1)
    if grep -qE 'NewConnectionError|NameResolutionError|Read timed out|ConnectTimeout|ProxyError|SSLError' "$log"; then
        fail "The package index cannot be reached: check the network, then try again (details: $log)"
    elif [ -n "$package" ]; then
        fail "There is no wheel of $package for Python $(version_of "$venv/bin/python" | sed 's/\.0/./') on this machine: use another one, as in make clean && PYTHON=python3.12 make demo (details: $log)"
    fi
    fail "$(grep -E '^ERROR' "$log" | tail -n 1) (details: $log)"
}

if [ ! -x "$venv/bin/python" ] || ! "$venv/bin/python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
    make_environment
fi
if [ "$(cat "${files[@]}" | cksum)" != "$(cat "$stamp" 2>/dev/null)" ]; then
    echo "Installing dependencies into $venv (the first time takes a minute or two) ..."
    "$venv/bin/python" scripts/wheels.py "$log" "${files[@]}" || explain
    cat "${files[@]}" | cksum >"$stamp"
fi
