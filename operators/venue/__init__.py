"""The simulated venue: match approved orders against bars or quotes without look-ahead, and report executions."""

from operators.venue.settings import VenueSettings
from operators.venue.stage import VenueStage

__all__ = ["VenueSettings", "VenueStage"]
