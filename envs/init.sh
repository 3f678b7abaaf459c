#!/bin/sh
# Creates the environment of this checkout, <checkout>/.venv, from the lock files beside this script.
#
#   envs/init.sh [--quiet] [base|test|extensions]   create or update it; returns at once if it is current
#   envs/init.sh show                               show its Python and main packages
#   envs/init.sh remove                             remove it
#
# base is what gears needs; test and extensions add to it. Extensions that were added once are kept by each later update.
#
# A stamp in .venv records what it was made from. The stamp is removed before any change and written last, so an
# interrupted run is repeated. Honours PYTHON=, and the settings of uv and pip for mirrors and proxies.
set -eu

root=$(cd "$(dirname "$0")/.." && pwd -P)
venv=$root/.venv
log=$root/run/env.log
lock=$root/run/env.lock
wish=$root/run/env.extensions # exists where extensions are wanted: a run that is killed, or makes .venv anew, keeps them
quiet=

say() { printf 'gears: %s\n' "$*"; }
die() { printf 'gears: %s\n' "$@" >&2; exit 1; }

# --- Is it current? -----------------------------------------------------------------------------------------------

# The settings of tools, at the end of pyproject.toml, do not affect an environment.
# `recipe` counts changes of this script that older environments need too.
recipe=3
checksum_of() { sed '/^\[tool/,$d' "$root/pyproject.toml" | (echo "$recipe" && cat "$root/envs/$1.lock.txt" -) | cksum; }

# A stamp is four lines: checksum, checkout, interpreter, host.
read_stamp() {
    stamp_checksum='' stamp_root='' stamp_python='' stamp_host=''
    [ -f "$venv/gears-$1.stamp" ] || return 1
    { read -r stamp_checksum && read -r stamp_root && read -r stamp_python && read -r stamp_host; } <"$venv/gears-$1.stamp"
}

write_stamp() {
    printf '%s\n' "$(checksum_of "$1")" "$root" "$(readlink -f "$venv/bin/python")" "$(uname -nm)" >"$venv/gears-$1.stamp"
}

# Scripts of an environment contain the paths of its directory and its interpreter: neither may have moved.
is_usable() {
    [ -x "$venv/bin/python" ] && [ "$stamp_root" -ef "$root" ] && [ "$stamp_python" = "$(readlink -f "$venv/bin/python")" ]
}

is_current() { read_stamp "$1" && [ "$stamp_checksum" = "$(checksum_of "$1")" ] && is_usable; }

# --- Checks before anything is touched ----------------------------------------------------------------------------

check_directory() {
    [ -d "$root/run" ] || mkdir -m 700 "$root/run" || die "can't make $root/run"
    [ -w "$root" ] || die "$root is not writable for $(id -un): clone gears into your own home directory"
    [ -w "$root/run" ] || die "$root/run is not writable for $(id -un): chmod u+rwx $root/run   (see: ls -ld $root/run)"
    available_mb=$(df -Pk "$root" | awk 'NR == 2 { print int($4 / 1024) }')
    case $kind in base) needed_mb=530 ;; extensions) needed_mb=560 ;; *) needed_mb=1310 ;; esac
    [ "${available_mb:-$needed_mb}" -ge "$needed_mb" ] ||
        die "the environment needs $needed_mb MB, but $root has $available_mb MB left: free space there, or clone gears elsewhere"
}

# In a home shared by different hosts, recreating it here would break a lab on another host.
check_host() {
    read_stamp base || return 0
    [ "$stamp_host" = "$(uname -nm)" ] || is_usable ||
        die "$venv was made on ${stamp_host% *} with $stamp_python, which does not work on $(uname -n)." \
            "Clone gears again for this host, and set lab.root in the site's profile to that directory;" \
            "or, if the other host no longer needs it, run: make fini init"
}

# Sets python, python_version, has_venv, and found: all candidates that were checked.
find_python() {
    python='' found=''
    if [ -n "${PYTHON:-}" ]; then set -- "$PYTHON"; else set -- python3.14 python3.13 python3.12 python3.11 python3; fi
    for candidate; do
        path=$(command -v "$candidate") || continue
        version=$("$path" -c 'import sys; print("%d.%d.%d" % sys.version_info[:3])' 2>/dev/null) || continue
        found="$found $path ($version)"
        "$path" -c 'import sys; sys.exit(sys.version_info < (3, 11))' || continue
        python=$path python_version=$version has_venv=yes
        if "$path" -c 'import venv; from ensurepip import version' 2>/dev/null; then return; fi
        has_venv=no
        [ -z "$uv" ] || return 0 # uv needs neither
    done
    [ -n "$python" ]
}

die_without_venv() {
    die "$python ($python_version) lacks the modules venv and ensurepip. As administrator:" \
        "    apt install python3-venv        (Debian, Ubuntu; for another version than the system's: python${python_version%.*}-venv)" \
        "or, without an administrator, install uv, which provides its own Python: https://docs.astral.sh/uv/getting-started/installation/" \
        "Then run: make init"
}

die_without_python() {
    [ -z "${PYTHON:-}" ] || die "PYTHON=$PYTHON is not Python 3.11 or newer; found:${found:- nothing}"
    die "Python 3.11 or newer is needed; found:${found:- none}" \
        "With environment modules: module load python, then run: make init; or choose one: make init PYTHON=/path/to/python3" \
        "or, without an administrator, install uv, which provides its own Python: https://docs.astral.sh/uv/getting-started/installation/"
}

choose_maker() {
    uv=$(command -v uv) || uv=
    if find_python; then
        [ -n "$uv" ] || [ "$has_venv" = yes ] || die_without_venv
    elif [ -z "$uv" ] || [ -n "${PYTHON:-}" ]; then
        die_without_python
    fi
}

# --- One at a time ------------------------------------------------------------------------------------------------

die_of_waiting() { die "another make init has been running for half an hour; stop it, or if there is none, run: rm -r $lock*"; }

# The kernel releases the lock however this script ends; a pip that outlives it holds the lock until it ends.
take_lock() {
    if command -v flock >/dev/null; then
        (umask 077 && : >>"$lock")
        exec 9>>"$lock"
        answer=0; flock -n 9 || answer=$?
        if [ $answer -eq 1 ]; then
            say "another make init is running; waiting for it"
            answer=0; flock -w 1800 9 || answer=$?
        fi
        case $answer in 0) return ;; 1) die_of_waiting ;; esac
    fi
    take_lock_directory
}

# For hosts without flock, and homes that don't support locks.
take_lock_directory() {
    turns=0
    until mkdir "$lock.d" 2>/dev/null; do
        if remove_stale_lock; then continue; fi
        [ $turns -gt 0 ] || say "another make init is running; waiting for it"
        turns=$((turns + 1))
        [ $turns -lt 900 ] || die_of_waiting
        sleep 2
    done
    trap 'rm -rf "$lock.d"' EXIT
    printf '%s\n%s\n' "$(uname -n)" $$ >"$lock.d/owner"
}

is_stale() {
    if { read -r owner_host && read -r owner_pid; } 2>/dev/null <"$lock.d/owner"; then
        [ "$owner_host" = "$(uname -n)" ] || return 1
        case $(ps -o args= -p "$owner_pid") in *init.sh*) return 1 ;; esac
    else
        [ -n "$(find "$lock.d" -prune -mmin +1 2>/dev/null)" ]
    fi
}

# Only the process that made `breaker` may remove the directory, after another check: the owner may have changed.
remove_stale_lock() {
    is_stale && mkdir "$lock.d/breaker" 2>/dev/null || return 1
    if is_stale; then rm -rf "$lock.d"; else rmdir "$lock.d/breaker"; return 1; fi
}

# --- Making it ----------------------------------------------------------------------------------------------------

# logged WHAT COMMAND…: write the output to the log, and show the end of it if the command fails.
logged() {
    doing=$1; shift
    printf '\n== %s\n' "$*" >>"$log"
    "$@" >>"$log" 2>&1 </dev/null || die_of_failure
}

log_says() { tail -n 60 "$log" | grep -qiE "$1"; }

die_of_failure() {
    printf 'gears: %s failed. The last lines of %s:\n' "$doing" "$log" >&2
    tail -n 12 "$log" | sed 's/^/    /' >&2
    if log_says 'no space left|quota exceeded'; then
        die "The disk or your quota is full: free space (du -sh ~/.cache), then run: make init"
    elif log_says 'certificate'; then
        die "The certificate of the package index is not trusted here; it may be that of a proxy of your centre." \
            "export SSL_CERT_FILE=/etc/ssl/certs/ca-certificates.crt (uv) or PIP_CERT=… (pip), then run: make init"
    elif log_says 'resol|not known|unreachable|timed out|connect|sending request|failed to fetch|from versions: none'; then
        die "The package index can't be reached from here. Behind a proxy: export https_proxy=http://HOST:PORT" \
            "With a mirror: export PIP_INDEX_URL=… (uv: UV_DEFAULT_INDEX=…). Then run: make init"
    fi
    die "Fix the cause shown above, then run: make init"
}

# Rename first: on NFS a directory with a file in use can't be removed.
remove_environment() {
    [ ! -e "$venv" ] || mv "$venv" "$venv.old.$$"
    rm -rf "$venv".old.* 2>/dev/null || say "files in use remain in $venv.old.$$; the next make init removes them"
}

make_environment() {
    remove_environment
    if [ -n "$uv" ]; then
        say "creating .venv with $uv and ${python:-its own Python}"
        logged "uv venv" "$uv" venv --no-project --python "${python:->=3.11,<3.15}" "$venv"
    else
        say "creating .venv with $python ($python_version)"
        logged "python -m venv" "$python" -m venv "$venv"
    fi
}

install() {
    if [ -n "$uv" ]; then
        logged "uv pip install" "$uv" pip install --python "$venv/bin/python" "$@"
    else
        logged "pip install" "$venv/bin/python" -m pip install --no-compile --disable-pip-version-check "$@"
    fi
}

install_packages() {
    say "installing $(grep -c '^[a-z].*==' "$root/envs/$kind.lock.txt") packages (about a minute); to follow it, run: tail -f $log"
    install --require-hashes -r "$root/envs/$kind.lock.txt"
    [ ! -e "$wish" ] || [ "$kind" = extensions ] || install --require-hashes -r "$root/envs/extensions.lock.txt"
    install --no-build-isolation --no-deps -e "$root"
}

# JupyterLab then starts in two thirds of the time. Some packages contain files that can't be compiled.
compile_packages() {
    say "compiling packages (a few seconds)"
    "$venv/bin/python" -m compileall -q -j 4 "$venv/lib" "$root/gears" >>"$log" 2>&1 </dev/null || :
}

# A start then reads one file instead of thousands (gears/bytecode.py). Without it, or with an empty one, Python imports
# as usual.
collect_modules() {
    say "collecting the modules of a start (a few seconds)"
    "$venv/bin/python" -EsP -m gears.lab.collect >>"$log" 2>&1 </dev/null || : >"$venv/gears-modules"
}

# After a package was installed or removed by hand the file is not used any more, so it is written again.
recollect_modules() {
    for packages in "$venv"/lib/python3*/site-packages; do
        [ -n "$(find "$packages" -prune -newer "$venv/gears-modules" 2>/dev/null)" ] || continue
        [ ! -w "$venv/gears-modules" ] || [ ! -w "$log" ] || collect_modules
    done
}

# For browsers far away. What can't be compressed now, JupyterLab compresses when it is asked for.
compress_pages() {
    say "compressing JupyterLab's pages (some ten seconds)"
    "$venv/bin/python" -EsP -m gears.lab.jupyter.pages >>"$log" 2>&1 </dev/null || :
}

# PYTHONPATH and PYTHONHOME set by modules are for other Pythons: the command `gears` ignores them (-E, -s, -P).
isolate_command() {
    sed '1s/^\(#!.*python[0-9.]*\)$/\1 -EsP/' "$venv/bin/gears" >"$venv/gears.new"
    cat "$venv/gears.new" >"$venv/bin/gears"
    rm "$venv/gears.new"
}

make_current() {
    began=$(date +%s)
    [ "$kind" != extensions ] || (umask 077 && : >"$wish")
    if ! { read_stamp base && is_usable; }; then make_environment; fi
    rm -f "$venv"/gears-*.stamp
    install_packages
    isolate_command
    compile_packages
    compress_pages
    collect_modules
    write_stamp base
    [ "$kind" != test ] || write_stamp test
    [ ! -e "$wish" ] || write_stamp extensions
    say "the environment is ready in $venv ($(($(date +%s) - began)) s)"
}

# --- Commands -----------------------------------------------------------------------------------------------------

note_missing_tmux() {
    command -v tmux >/dev/null ||
        say "tmux is not installed, and make lab needs it: apt install tmux (Debian, Ubuntu), or without an administrator: conda install -c conda-forge tmux"
}

say_current() { [ -n "$quiet" ] || say "the environment is current: $venv"; }

command_init() {
    if is_current "$kind"; then recollect_modules; say_current; return; fi
    check_directory
    note_missing_tmux
    choose_maker
    take_lock
    if is_current "$kind"; then say_current; return; fi # another run made it while this one waited
    check_host
    (umask 077 && : >"$log")
    make_current
}

command_show() {
    is_current base || die "there is no current environment; run: make init"
    say "$venv, made on ${stamp_host% *} with $stamp_python ($("$venv/bin/python" -V))"
    grep -E '^(ipykernel|jinja2|jupyter-server|jupyterlab|libtmux)==' "$root/envs/base.lock.txt" | sed 's/ .*//; s/^/    /'
    say "to use it in a shell: . $venv/bin/activate"
}

command_remove() {
    if [ ! -e "$venv" ]; then rm -f "$wish"; say "there is no environment"; return; fi
    take_lock
    remove_environment
    rm -f "$wish"
    say "removed $venv"
}

# Settings of a site's modules, or of the user, for other Pythons must not affect this one.
unset PYTHONHOME PYTHONPATH PIP_TARGET PIP_PREFIX VIRTUAL_ENV
export PIP_USER=0 PYTHONNOUSERSITE=1
# Readable by others as the user's umask allows, writable by nobody else.
umask go-w
trap 'say "interrupted; run again: make init" >&2; exit 130' INT TERM

if [ "${1:-}" = --quiet ]; then quiet=yes; shift; fi
kind=${1:-base}
case $kind in
    base | test | extensions) command_init ;;
    show) command_show ;;
    remove) command_remove ;;
    *) die "usage: envs/init.sh [--quiet] [base|test|extensions] | show | remove" ;;
esac
