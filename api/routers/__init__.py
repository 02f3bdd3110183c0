"""The endpoints, one file per subject. Each router declares its full path, which is a label of the metrics."""

PREFIX = "/api/v1"
