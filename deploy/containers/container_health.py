"""`python -m deploy.containers.container_health SERVICE`: exit status 0 if the service is healthy."""

import sys

from deploy.home import Home, home_from_environment
from deploy.supervisor.platform_services import alerts_probe
from deploy.supervisor.probes import DataflowProbe, HttpProbe
from deploy.supervisor.process_spec import Probe


def probe_of(service: str, home: Home) -> Probe:
    """The question that the local supervisor asks too; the API's own health is another's matter."""
    if service == "api":
        return HttpProbe("http://127.0.0.1:8000/openapi.json")
    if service == "dashboard":
        return HttpProbe("http://127.0.0.1:3000/")
    if service == "alerts":
        return alerts_probe(home)
    return DataflowProbe(home.stats / f"{service}.json")


def main(service: str) -> int:
    # The service is the container's first process or a child of it: whose file it is does not matter here.
    reason = probe_of(service, home_from_environment())(0)
    if reason is not None:
        print(reason, file=sys.stderr)
    return 0 if reason is None else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
