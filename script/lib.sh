# shellcheck shell=bash
# Shared by the scripts beside this file: where things are, and how a plain Debian gets the tools they need.
#
#   . "$(dirname "$0")/lib.sh"
#   ensure_apt gcc libc6-dev     installs what is missing
#   ensure_venv                  makes the locked development environment and sets VENV
#
# ROOT is the checkout, CACHE what may be thrown away (DROPLAN_CACHE, else .cache in the checkout).

set -euo pipefail
umask 022

ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd -P)
CACHE=${DROPLAN_CACHE:-$ROOT/.cache}
export ROOT CACHE

say() { printf '%s\n' "$*" >&2; }
die() { say "$(basename "$0"): $*"; exit 1; }

# Names of those packages of "$@" that are not installed.
_missing_apt() {
    local package
    for package in "$@"; do
        # ${Status} is dpkg-query's own format, not ours.
        # shellcheck disable=SC2016
        case $(dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null) in
            installed) ;;
            *) printf '%s\n' "$package" ;;
        esac
    done
}

_apt_get() {
    DEBIAN_FRONTEND=noninteractive NEEDRESTART_SUSPEND=1 \
        apt-get -qq -o DPkg::Lock::Timeout=300 -o Dpkg::Use-Pty=0 "$@" >/dev/null
}

# Update the lists, waiting for another apt (which holds their lock, and has no timeout of its own) to finish.
_apt_update() {
    local deadline=$((SECONDS + 300))
    until _apt_get update; do
        ((SECONDS < deadline)) || die "apt-get update fails: see its messages above"
        sleep 5
    done
}

# Install those of the named Debian packages that are missing. Costs a dpkg-query when none is.
ensure_apt() {
    local -a missing
    mapfile -t missing < <(_missing_apt "$@")
    ((${#missing[@]})) || return 0
    command -v apt-get >/dev/null || die "needs ${missing[*]}, and this is no Debian: install them by hand"
    [ "$(id -u)" = 0 ] || die "needs ${missing[*]}: run 'apt-get install ${missing[*]}' as root, then this again"
    say "installing ${missing[*]}"
    # The lists at hand may do; where they are missing or too old, fetch them and try once more.
    if ! _apt_get --no-install-recommends install "${missing[@]}" 2>/dev/null; then
        _apt_update
        _apt_get --no-install-recommends install "${missing[@]}" || die "cannot install ${missing[*]}"
    fi
}

# The distribution's own Python, so that a pyenv or conda first on PATH changes nothing.
system_python() {
    if [ -x /usr/bin/python3 ]; then echo /usr/bin/python3; else command -v python3; fi
}

# Make a virtual environment of exactly what locks say; one that is up to date is left alone.
#
#   make_venv DIRECTORY LOCK...    each lock in turn, so that one may hold what the next is built with
make_venv() {
    local venv=$1 python stamp lock
    shift
    if command -v dpkg-query >/dev/null; then ensure_apt python3 python3-venv gcc libc6-dev; fi
    python=$(system_python) || die "needs python3"
    stamp=$("$python" -VV; printf '%s\n' "$python" "$venv"; cat "$@")
    if [ "$(cat "$venv/stamp" 2>/dev/null)" = "$stamp" ]; then return 0; fi
    mkdir -p "$CACHE"
    exec 9>"$venv.lock"
    flock 9 # two scripts at once: the second finds it made
    if [ "$(cat "$venv/stamp" 2>/dev/null)" != "$stamp" ]; then
        say "making $venv"
        rm -rf "$venv"
        "$python" -m venv "$venv"
        for lock; do
            # No build isolation: it would fetch a builder that no lock names.
            "$venv/bin/python" -m pip -qq --disable-pip-version-check \
                install --require-hashes --no-build-isolation --use-pep517 --no-deps -r "$lock" >&2
        done
        printf '%s\n' "$stamp" >"$venv/stamp"
    fi
    exec 9>&-
}

# The development environment: the tools, droplan's dependencies at the versions that are shipped, and what the stub of
# Terraform's provider is made with. Sets and exports VENV.
ensure_venv() {
    VENV=$CACHE/venv
    export VENV
    make_venv "$VENV" "$ROOT"/requirements/{dev,runtime,terraform}.txt
}
