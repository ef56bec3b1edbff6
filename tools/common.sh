# shellcheck shell=bash
# What the scripts in tools/ share. Source it from the repository's root.

# Every message goes to stderr and begins with the word "make", as the tool the reader called.
say() { printf 'make: %s\n' "$*" >&2; }

die() {
    say "$*"
    exit 1
}

# run_logged LOG COMMAND…: runs quietly; where it fails, shows the end of what it printed.
run_logged() {
    local log=$1
    shift
    if ! "$@" >>"$log" 2>&1; then
        tail -n 25 "$log" >&2
        die "'$*' failed; everything it printed is in $log"
    fi
}
