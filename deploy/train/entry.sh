#!/bin/sh
# What the training image runs: its arguments, or else the pipeline and then the push of its data.
set -eu

refuse() {
    printf 'error: %s\n' "$*" >&2
    exit 2
}

mount="docker run --rm --user \"\$(id -u):\$(id -g)\" --volume \"\$PWD:/repo\" cairn-train"
if [ ! -f dvc.yaml ]; then
    refuse "$PWD holds no dvc.yaml: mount a clone of the repository there, from its top: $mount"
fi
if [ ! -w . ]; then
    refuse "$PWD cannot be written by user $(id -u): run as the one who owns it: $mount"
fi
if [ "$#" -gt 0 ]; then
    exec "$@"
fi
dvc repro
exec dvc push
