#!/bin/sh
# SPDX-License-Identifier: MIT
#
# curl 7.88.1 over OpenSSL 3.0 (Debian 12) does not resume a TLS 1.2 session that the server keeps in a ticket only (RFC 5077): one whose
# ServerHello has an empty session ID. nginx does that with `ssl_session_cache off` (its tickets are on by default); so do servers
# that have no cache at all, Go's among them. `openssl s_client` of the same OpenSSL resumes with that very server; curl does where the server
# has a cache, so that there is a session ID, and in TLS 1.3, where tickets are all there is.
# (mirage-py's TLS 1.2 has tickets and no session IDs: each connection of such a curl is a full handshake.)
#
# Seen, of two connections of one curl with nginx 1.22.1, whether the second one was resumed: "tickets: . ; with a cache: r ; TLS 1.3: r ; s_client with tickets: Reused"
#
# Needs: Debian 12, apt-get, dpkg-deb, openssl. Fails when that changes.
set -eu

CURL=7.88.1-10+deb12u15
NGINX=1.22.1-9+deb12u11
work=$(mktemp -d)
server=""
finish() {
    [ -z "$server" ] || kill "$server" 2>/dev/null || true
    rm -rf "$work"
}
trap finish EXIT
chmod 755 "$work"
cd "$work"
# What of their dependencies the system has already is taken from there.
apt-get -q download "curl=$CURL" "libcurl4=$CURL" "nginx=$NGINX" >/dev/null 2>&1 || { echo "error: curl=$CURL, nginx=$NGINX cannot be had from apt" >&2; exit 2; }
for package in *.deb; do dpkg-deb -x "$package" root; done
export LD_LIBRARY_PATH="$work/root/usr/lib/x86_64-linux-gnu"
openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout key.pem -out cert.pem -days 2 -subj /CN=localhost 2>/dev/null

# serve VERSION CACHE: nginx on a free port, which answers "r" to a request on a resumed connection, else "."
serve() {
    port=$(python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')
    cat > nginx.conf <<CONFIGURATION
daemon off; master_process off; pid $work/nginx.pid; error_log stderr; events {}
http {
    access_log off; client_body_temp_path $work/a; proxy_temp_path $work/b; fastcgi_temp_path $work/c; uwsgi_temp_path $work/d; scgi_temp_path $work/e;
    server {
        listen 127.0.0.1:$port ssl; ssl_certificate $work/cert.pem; ssl_certificate_key $work/key.pem;
        ssl_protocols $1; ssl_session_cache $2; keepalive_timeout 0;
        location / { return 200 "\$ssl_session_reused"; }
    }
}
CONFIGURATION
    "$work/root/usr/sbin/nginx" -e stderr -c "$work/nginx.conf" 2>nginx.log &
    server=$!
    for _ in 1 2 3 4 5 6 7 8 9 10; do
        curl -sk -o /dev/null "https://127.0.0.1:$port/" && break
        sleep 0.2
    done
}

stop() {
    kill "$server"
    wait "$server" 2>/dev/null || true
    server=""
}

second() {
    "$work/root/usr/bin/curl" -sk --max-time 20 "https://127.0.0.1:$port/" "https://127.0.0.1:$port/" | cut -c2
}

serve TLSv1.2 off
tickets=$(second)
openssl s_client -connect "127.0.0.1:$port" -sess_out session.pem </dev/null >/dev/null 2>&1
s_client=$(openssl s_client -connect "127.0.0.1:$port" -sess_in session.pem </dev/null 2>/dev/null | grep -o '^Reused\|^New')
stop
serve TLSv1.2 shared:sessions:1m
cache=$(second)
stop
serve TLSv1.3 off
newer=$(second)
stop

seen="tickets: $tickets ; with a cache: $cache ; TLS 1.3: $newer ; s_client with tickets: $s_client"
echo "$seen"
[ "$seen" = "tickets: . ; with a cache: r ; TLS 1.3: r ; s_client with tickets: Reused" ]
