"""Start, monitor and stop the services of one platform."""
