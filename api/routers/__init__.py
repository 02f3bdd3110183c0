"""The endpoints, one file a subject. Each router knows its whole path: metrics are labelled with it."""

PREFIX = "/api/v1"
