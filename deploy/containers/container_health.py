"""Check the health of a container: `python -m deploy.containers.container_health SERVICE` exits with 0 if healthy."""

import sys

from deploy.home import Home, home_from_environment
from deploy.supervisor.platform_services import alerts_probe
from deploy.supervisor.probes import DataflowProbe, HttpProbe
from deploy.supervisor.process_spec import HealthProbe


def probe_of(service: str, home: Home) -> HealthProbe:
    """Return the probe of a service. The API's probe does not depend on other services, unlike its /health."""
    if service == "api":
        return HttpProbe("http://127.0.0.1:8000/openapi.json")
    if service == "dashboard":
        return HttpProbe("http://127.0.0.1:3000/")
    if service == "alerts":
        return alerts_probe(home)
    return DataflowProbe(home.stats / f"{service}.json")


def main(service: str) -> int:
    # The pid does not matter: the container runs only this service.
    reason = probe_of(service, home_from_environment())(0)
    if reason is not None:
        print(reason, file=sys.stderr)
    return 0 if reason is None else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
