#!/bin/sh
# Writes the lock files from pyproject.toml; needs uv. `--upgrade` takes the newest versions, else only what changed.
#
# One lock holds for Python 3.11 and later on Linux and macOS, with hashes, and is read by uv and by pip. It names no
# index: each site may have its mirror. test and extensions are base and more, at the same versions; analysis, for notebooks,
# shares them.
set -eu
cd "$(dirname "$0")/.."

compile() {
    output=$1; shift
    uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-annotate \
        --custom-compile-command "make lock" --output-file "$output" "$@" >/dev/null
}

compile envs/base.lock.txt pyproject.toml --group build "$@"
compile envs/extensions.lock.txt pyproject.toml envs/extensions.in --group build --constraint envs/base.lock.txt "$@"
compile envs/test.lock.txt pyproject.toml --group build --group test --constraint envs/extensions.lock.txt "$@"
compile envs/analysis.lock.txt envs/analysis.in --constraint envs/base.lock.txt "$@"
