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

# of_version VERSION FILE…: dies where one of these binaries is of another version than this; each holds
# its own for the User-Agent of its calls.
of_version() {
    local version=$1 file
    shift
    for file in "$@"; do
        grep -qaF "ngx-phantom-token/$version" "$file" || die "$file is not of version $version: build it anew"
    done
}

# remove_root DIRECTORY: a directory that a system was made in. What an interrupted debootstrap or
# check left mounted there is unmounted first, and nothing that is mounted all the same is gone into.
remove_root() {
    local mounted
    while read -r mounted; do
        umount "$mounted" || die "$mounted is still in use: end what uses it, then umount it"
    done < <(findmnt --raw --noheadings --output TARGET | grep -F "$(realpath -m "$1")/" | LC_ALL=C sort -r)
    rm -rf --one-file-system "$1"
}
