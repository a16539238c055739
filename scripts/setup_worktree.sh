#!/bin/sh
# A work tree for a parallel experiment, beside the repository: setup_worktree.sh NAME
# It has a branch of that name and shares the cache of DVC, where there is one. The same as `xt versions worktree NAME`.
set -eu
case ${1:-} in
"" | -h | --help)
    sed -n '2,3s/^# //p' "$0"
    [ -n "${1:-}" ] && exit 0
    exit 2
    ;;
esac
exec "${XT:-xt}" versions worktree "$@"
