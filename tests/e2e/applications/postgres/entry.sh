#!/bin/sh
# Makes the cluster at the first start, with what is in /docker-entrypoint-initdb.d.
set -e
if [ ! -s "$PGDATA/PG_VERSION" ]; then
    password=$(mktemp)
    echo "${POSTGRES_PASSWORD:?is not set}" > "$password"
    initdb --username=postgres --auth-local=trust --auth-host=scram-sha-256 --pwfile="$password" \
        --locale=C --encoding=UTF8 > /dev/null
    rm "$password"
    echo 'host all all all scram-sha-256' >> "$PGDATA/pg_hba.conf"
    pg_ctl -w -o "-c listen_addresses= -c unix_socket_directories=/tmp" start > /dev/null
    for file in /docker-entrypoint-initdb.d/*.sql; do
        psql -U postgres -q -v ON_ERROR_STOP=1 -f "$file"
    done
    pg_ctl -w -m fast stop > /dev/null
fi
exec "$@"
