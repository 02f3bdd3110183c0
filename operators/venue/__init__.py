"""The simulated venue: approved orders in, execution reports out, filled from bars without looking ahead."""

from operators.venue.settings import VenueSettings
from operators.venue.stage import VenueStage

__all__ = ["VenueSettings", "VenueStage"]
