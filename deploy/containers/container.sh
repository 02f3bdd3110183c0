#!/bin/sh
# Entry point of the containers: `container.sh SERVICE` starts a service, `container.sh healthy` checks its health.
set -eu
home="${PLATFORM_HOME:-/state}"
# The same as HTTP_OPTIONS of deploy/supervisor/platform_services.py.
http_options="--no-access-log --log-level warning --no-server-header --no-proxy-headers"
http_options="$http_options --http h11 --h11-max-incomplete-event-size 32768 --limit-concurrency 1200"
http_options="$http_options --timeout-keep-alive 5 --ws-max-size 65536 --ws-max-queue 16"
mkdir -p "$home/run/stats" "$home/recovery" "$home/secrets"

case "${1:-api}" in
migrate)
    # Check the state, and create topics and tables. Idempotent. Each dataflow has its recovery store in its own volume.
    exec python -m deploy.supervisor.initialize --without-stores
    ;;
api)
    echo api > /tmp/service
    exec python -m uvicorn api.app:served --factory --host "${API_HOST:-0.0.0.0}" --port 8000 $http_options
    ;;
alerts)
    echo alerts > /tmp/service
    exec python -m api.alerting
    ;;
dashboard)
    echo dashboard > /tmp/service
    export PLATFORM_DASHBOARD_BUNDLE="${PLATFORM_DASHBOARD_BUNDLE:-/app/dashboard}"
    exec python -m uvicorn deploy.local.dashboard_server:create_app --factory --host 0.0.0.0 --port 3000 $http_options
    ;;
healthy)
    exec python -m deploy.containers.container_health "$(cat /tmp/service)"
    ;;
*)
    # A dataflow, with its own recovery store in the volume.
    echo "$1" > /tmp/service
    python -c "import sys; from pathlib import Path; from deploy.supervisor.initialize import make_recovery_store as make; make(Path(sys.argv[1]))" "$home/recovery/$1"
    exec python -m bytewax.run "dataflows.$1" -r "$home/recovery/$1" -s "${SNAPSHOT_INTERVAL_S:-1}" -b 0
    ;;
esac
