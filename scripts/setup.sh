#!/bin/sh
# SPDX-License-Identifier: MIT
# The first stage of setting a checkout up: the Debian packages, and then a Python that can make the environment.
set -eu
cd "$(dirname "$0")/.."
mkdir -p .setup

say() { echo "set-up: $*"; }
fail() { echo "set-up: error: $*" >&2; exit 1; }

# packages LIST: the Debian packages of scripts/LIST.txt.
packages() {
    list=scripts/$1.txt
    missing=""
    if ! command -v dpkg-query >/dev/null; then
        for program in gcc make objcopy qemu-system-x86_64; do
            command -v "$program" >/dev/null || missing="$missing $program"
        done
        [ -z "$missing" ] || fail "not a Debian system; install these programs first:$missing"
        return 0
    fi
    for package in $(sed 's/#.*//' "$list"); do
        case "$(dpkg-query -W -f '${db:Status-Abbrev}' "$package" 2>/dev/null || true)" in
            ii*) ;;
            *) missing="$missing $package" ;;
        esac
    done
    [ -n "$missing" ] || return 0
    if [ "$(id -u)" = 0 ]; then
        as_root=""
    elif command -v sudo >/dev/null && { sudo -n true 2>/dev/null || [ -t 0 ]; }; then
        as_root="sudo"
    else
        fail "packages are missing and root is needed to install them; as root: apt-get install$missing"
    fi
    say "installing$missing"
    trap allow_services EXIT
    forbid_services
    # shellcheck disable=SC2086  # lists of words
    if ! {
        $as_root apt-get -q -o Acquire::Retries=3 update &&
            $as_root env DEBIAN_FRONTEND=noninteractive \
                apt-get -q -y -o Acquire::Retries=3 install --no-install-recommends $missing
    } >.setup/packages.log 2>&1; then
        tail -n 3 .setup/packages.log >&2
        fail "apt-get failed, see .setup/packages.log; or, as root: apt-get install$missing"
    fi
    for package in $missing; do
        case $package in
            # Nor at the next boot.
            kea-dhcp4-server | nginx | radvd)
                if command -v systemctl >/dev/null; then $as_root systemctl -q disable "$package" || true; fi ;;
        esac
    done >>.setup/packages.log 2>&1
}

# The tests run servers of their own: what a package brings must not be started as a service of this machine.
# /usr/sbin/policy-rc.d is how an administrator says so (invoke-rc.d(8)); one that is there has its say already.
policy=/usr/sbin/policy-rc.d
made_policy=""
as_root=""

forbid_services() {
    [ ! -e $policy ] || return 0
    made_policy=yes
    printf '#!/bin/sh\nexit 101\n' | $as_root tee $policy >/dev/null
    $as_root chmod 755 $policy
}

allow_services() {
    [ -z "$made_policy" ] || $as_root rm -f $policy
    made_policy=""
}

find_python() {
    for python in python3 /usr/bin/python3 python3.14 python3.13 python3.12 python3.11; do
        if "$python" -c 'import ctypes, ensurepip, lzma, ssl, sys, venv; sys.exit(sys.version_info < (3, 11))' 2>/dev/null
        then
            echo "$python"
            return 0
        fi
    done
    fail "no Python 3.11 or newer with venv and ensurepip; install the packages python3 and python3-venv"
}

case "${1:-}" in
    packages) packages "${2:-apt-packages}" ;;
    venv) python=$(find_python) && exec "$python" scripts/setup_venv.py ;;
    *) fail "usage: setup.sh packages [LIST] | venv" ;;
esac
