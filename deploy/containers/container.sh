#!/bin/sh
# Entry point of the containers: `container.sh SERVICE` starts a service, `container.sh healthy` checks its health.
set -eu
home="${PLATFORM_HOME:-/state}"
mkdir -p "$home/run/stats" "$home/recovery" "$home/secrets"

case "${1:-api}" in
migrate)
    # Create topics, tables and recovery stores. Idempotent.
    exec python -m deploy.supervisor.initialise
    ;;
api)
    echo api > /tmp/service
    exec python -m uvicorn api.app:served --factory --host "${API_HOST:-0.0.0.0}" --port 8000 --no-access-log --log-level warning
    ;;
alerts)
    echo alerts > /tmp/service
    exec python -m api.alerting
    ;;
dashboard)
    echo dashboard > /tmp/service
    export PLATFORM_DASHBOARD_BUNDLE="${PLATFORM_DASHBOARD_BUNDLE:-/app/dashboard}"
    exec python -m uvicorn deploy.local.dashboard_server:create_app --factory --host 0.0.0.0 --port 3000 --no-access-log --log-level warning
    ;;
healthy)
    exec python -m deploy.containers.container_health "$(cat /tmp/service)"
    ;;
*)
    # A dataflow, with its own recovery store in the volume.
    echo "$1" > /tmp/service
    python -c "import sys; from pathlib import Path; from deploy.supervisor.initialise import make_recovery_store as make; make(Path(sys.argv[1]))" "$home/recovery/$1"
    exec python -m bytewax.run "dataflows.$1" -r "$home/recovery/$1" -s "${SNAPSHOT_INTERVAL_S:-1}" -b 0
    ;;
esac
