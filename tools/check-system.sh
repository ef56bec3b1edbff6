# shellcheck shell=bash
# What the checks of packages share: a Debian of its own to work in, and servers around it. Source it
# from the repository's root after common.sh; it sets suite, work, root and log.
#   check_system NAME   makes build/NAME/root, anew; DEBIAN_MIRROR may name a mirror
#   inside COMMAND…     runs there

bin=${CARGO_TARGET_DIR:-target}/debug
# shellcheck disable=SC1091
suite=$(. /etc/os-release && echo "$VERSION_CODENAME")
pids=()
umask 022

# All that this check started, and what it mounted.
cleanup() {
    local pid
    for pid in "${pids[@]}"; do kill "$pid" 2>/dev/null || true; done
    if [[ -n ${root:-} ]] && mountpoint -q "$root/proc"; then umount "$root/proc"; fi
}
trap cleanup EXIT

check_system() {
    ((EUID == 0)) || die "this check needs root: it works in a chroot"
    command -v debootstrap >/dev/null || die "this check needs the package debootstrap"
    local program
    for program in dev-api dev-authorization-server; do
        [[ -x $bin/$program ]] || die "build the development servers first: cargo build --package phantom-token-test"
    done
    work=$PWD/build/$1
    root=$work/root
    log=$work/log
    mkdir -p "$work"
    : >"$log"
    if [[ ! -f $work/$suite/etc/debian_version ]]; then
        say "making a Debian $suite with debootstrap"
        remove_root "${work:?}/$suite"
        run_logged "$log" debootstrap --variant=minbase "$suite" "$work/$suite" ${DEBIAN_MIRROR:+"$DEBIAN_MIRROR"}
    fi
    remove_root "$root"
    cp -a "$work/$suite" "$root"
    # The machine's own sources, so that its NGINX is to be had at all; nothing is started.
    cp -a /etc/apt/sources.list.d/debian.sources "$root/etc/apt/sources.list.d/" 2>/dev/null || true
    [[ ! -f $root/etc/apt/sources.list.d/debian.sources ]] || : >"$root/etc/apt/sources.list"
    cp /etc/resolv.conf /etc/hosts "$root/etc/"
    printf '#!/bin/sh\nexit 101\n' >"$root/usr/sbin/policy-rc.d"
    chmod 755 "$root/usr/sbin/policy-rc.d"
    mount -t proc proc "$root/proc"
    run_logged "$log" inside apt-get update -q
}

end_system() {
    umount "$root/proc"
    remove_root "$root"
}

inside() { chroot "$root" env -u NGINX DEBIAN_FRONTEND=noninteractive LC_ALL=C.UTF-8 "$@"; }
quietly() { run_logged "$log" "$@"; }
expect() {
    [[ $2 == "$3" ]] || die "$1: expected '$3', got '$2'"
    say "  $1: ${2:-none}"
}

# said LINE…: each is among what was last printed, which is in $work/said.
said() {
    local line
    for line; do
        grep -qxF -e "$line" "$work/said" || {
            cat "$work/said" >&2
            die "it does not say: $line"
        }
        say "  it says: $line"
    done
}

free_port() {
    local port
    for _ in $(seq 200); do
        port=$((20000 + RANDOM % 10000))
        (exec 3<>"/dev/tcp/127.0.0.1/$port") 2>/dev/null || {
            echo "$port"
            return
        }
    done
    die "no free port"
}

# answers URL…: waits until each of them is answered, whatever the answer.
answers() {
    local url
    for url; do
        for _ in $(seq 300); do ! curl -sk -o /dev/null "$url" || continue 2; sleep 0.1; done
        die "nothing answers at $url"
    done
}

# An authorization server and an API, on $tokens and $api; a gateway is to listen on $port.
start_servers() {
    port=$(free_port) tokens=$(free_port) api=$(free_port)
    "$bin/dev-authorization-server" "$tokens" >>"$log" 2>&1 &
    pids+=($!)
    "$bin/dev-api" "$api" >>"$log" 2>&1 &
    pids+=($!)
    answers "http://127.0.0.1:$tokens/jwks" "http://127.0.0.1:$api"
}

# What a reader exchanges in an example: addresses of servers, and the client that this server knows.
addresses() {
    sed -e "s,https://login[-a-z0-9]*\.example\.com/oauth/v2/oauth-introspect,http://127.0.0.1:$tokens/oauth/v2/oauth-introspect,
        s,127\.0\.0\.1:9090,127.0.0.1:$tokens,; s,127\.0\.0\.1:3000,127.0.0.1:$api,
        s,listen 8080;,listen 127.0.0.1:$port;,; s,127\.0\.0\.1:8080,127.0.0.1:$port,
        s,client_id api-gateway;,client_id introspection-client;," "$@"
}

new_token() {
    curl -s -u 'test-client:Password1' -d grant_type=client_credentials -d scope=read \
        "http://127.0.0.1:$tokens/oauth/v2/oauth-token" | sed 's/.*"access_token" *: *"\([^"]*\)".*/\1/'
}
status() { curl -sk -o /dev/null -w '%{http_code}' "$@"; }

# block LANGUAGE NUMBER FILE: of those in a document.
block() {
    awk -v open="\`\`\`$1" -v number="$2" '
        { line = $0; sub(/^ */, "", line) }
        line == "```" { wanted = 0 }
        wanted
        line == open { wanted = (++count == number) }' "$3"
}

# flow WHAT URL: the tutorial's flow with the gateway there.
flow() {
    local authorization
    answers "$2"
    authorization="Authorization: Bearer $(new_token)"
    expect "$1: without a token" "$(status "$2")" 401
    expect "$1: with an opaque token" "$(status -H "$authorization" "$2")" 200
    expect "$1: the API received a JWT" \
        "$(curl -sk -H "$authorization" "$2" | grep -c 'API Received JWT: eyJ')" 1
}

start_nginx() {
    quietly inside nginx
    # It goes into the background before it writes the file.
    for _ in $(seq 300); do [[ ! -s $root/run/nginx.pid ]] || break; sleep 0.1; done
    pids+=("$(<"$root/run/nginx.pid")")
}
stop_nginx() {
    quietly inside nginx -s quit
    for _ in $(seq 300); do [[ -e $root/run/nginx.pid ]] || return 0; sleep 0.1; done
    die "NGINX does not stop"
}

# try_examples FOLDER: each starts as /etc/nginx/nginx.conf, as far as NGINX can tell, and three are used.
try_examples() {
    local example name url tls tried=0
    say "its examples"
    cp "$root/etc/nginx/nginx.conf" "$work/nginx.conf"
    # A folder that one of them speaks of.
    mkdir -p "$root/run/phantom-token"
    for example in "$root$1"/*.conf; do
        name=${example##*/}
        # Not one by itself, but to be included.
        [[ $name != log-format.conf ]] || continue
        give_files "$example"
        cp "$example" "$root/etc/nginx/nginx.conf"
        if ! inside nginx -t >"$work/said" 2>&1; then
            cat "$work/said" >&2
            die "the example $name does not start here"
        fi
        tried=$((tried + 1))
    done
    say "  nginx -t with each of $tried as /etc/nginx/nginx.conf: successful"
    for name in minimal production tutorial; do
        addresses "$root$1/$name.conf" >"$root/etc/nginx/nginx.conf"
        url=http://127.0.0.1:$port/api/
        if [[ $name == production ]]; then
            tls=$(free_port)
            sed -i "s,127.0.0.1:8443,127.0.0.1:$tls,; s,127.0.0.1:9145,127.0.0.1:$(free_port)," "$root/etc/nginx/nginx.conf"
            url=https://127.0.0.1:$tls/api/
        fi
        start_nginx
        flow "$name.conf" "$url"
        stop_nginx
    done
    {
        addresses "$root$1/minimal.conf" | sed '/^http {/q'
        printf '    include %s/log-format.conf;\n    access_log /var/log/nginx/tokens.log phantom_token;\n' "$1"
        addresses "$root$1/minimal.conf" | sed '1,/^http {/d'
    } >"$root/etc/nginx/nginx.conf"
    # Another tarball's.
    rm -f "$root/var/log/nginx/tokens.log"
    start_nginx
    flow "log-format.conf" "http://127.0.0.1:$port/api/"
    expect "log-format.conf: lines of a miss" "$(grep -c '"token":"MISS"' "$root/var/log/nginx/tokens.log")" 1
    stop_nginx
    cp "$work/nginx.conf" "$root/etc/nginx/nginx.conf"
}

# try_probe FILE: what the documentation says of it.
try_probe() {
    (umask 077; echo Password1 >"$root/tmp/secret")
    new_token | inside "$1" --client-id introspection-client --client-secret-file /tmp/secret --token-file - \
        "http://127.0.0.1:$tokens/oauth/v2/oauth-introspect" >"$work/said" 2>&1 || {
        cat "$work/said" >&2
        die "phantom-token-probe finds no configuration"
    }
    expect "phantom-token-probe: the configuration to paste" "$(grep -c 'phantom_token_client_id' "$work/said")" 1
}

# Whatever files an example names beside its configuration: secrets, keys, certificates.
give_files() {
    local name
    while read -r name; do
        [[ ! -e $root/etc/nginx/$name ]] || continue
        case $name in
        server.*)
            openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -subj /CN=api.example.com \
                -keyout "$root/etc/nginx/server.key" -out "$root/etc/nginx/server.pem" 2>/dev/null
            ;;
        *.pem) cat "$root"/etc/ssl/certs/ca-certificates.crt >"$root/etc/nginx/$name" ;;
        # What several gateways have in common is no key of an algorithm.
        fleet.key) openssl rand -base64 48 >"$root/etc/nginx/$name" ;;
        *.key) openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -out "$root/etc/nginx/$name" ;;
        *) echo Password1 >"$root/etc/nginx/$name" ;;
        esac
        chmod 600 "$root/etc/nginx/$name"
    done < <(sed -n 's/^ *[a-z_]* \([A-Za-z0-9_-]*\.\(secret\|pem\|key\)\);.*/\1/p' "$1" | sort -u)
}
