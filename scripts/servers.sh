#!/usr/bin/env bash
# The servers, the browser and the recordings that the tests drive: installs them where it may, else says what is missing.
# The tests start private ones; nothing is started here, nor left running.
set -euo pipefail

missing=()
have() { PATH="$PATH:/usr/sbin:/sbin" command -v "$1" >/dev/null 2>&1; }
have_postgres() { have initdb || compgen -G '/usr/lib/postgresql/*/bin/initdb' >/dev/null; }
have_chromium() { have chromium || have chromium-browser || have google-chrome; }
have_sounds() { compgen -G '/usr/share/asterisk/sounds/en*/vm-goodbye.wav' >/dev/null; }

have redis-server || missing+=(redis-server)
have_postgres || missing+=(postgresql)
have_sounds || missing+=(asterisk-core-sounds-en-wav)
have nginx || missing+=(nginx)
have_chromium || missing+=(chromium)
[ ${#missing[@]} -gt 0 ] || exit 0

if [ "$(id -u)" != 0 ] || ! have apt-get; then
    echo "The tests need ${missing[*]}: install them (Debian, Ubuntu: sudo apt install ${missing[*]}), or run \`make test-unit\`, which needs none" >&2
    exit 1
fi

# Debian asks this file before a package starts its service: here, none does.
policy=/usr/sbin/policy-rc.d
if [ ! -e "$policy" ]; then
    printf '#!/bin/sh\nexit 101\n' >"$policy"
    chmod +x "$policy"
    trap 'rm -f "$policy"' EXIT
fi
echo "Installing ${missing[*]} for the tests ..."
export DEBIAN_FRONTEND=noninteractive
log=$(mktemp)
if ! { apt-get update && apt-get install -y --no-install-recommends "${missing[@]}"; } >"$log" 2>&1; then
    grep -E '^E:' "$log" | tail -n 1 >&2 || true
    echo "apt-get could not install ${missing[*]}: check the network and the package sources (details: $log)" >&2
    exit 1
fi
