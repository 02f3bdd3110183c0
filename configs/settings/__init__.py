"""The settings as one frozen, typed tree. Unknown keys and invalid values are errors of one sentence.

Sections by subject: `feeds`, `analysis`, `execution`, `platform`, `stores`. `tree` combines them, `loading` reads them.
The settings of a stage are next to the stage, in `operators/`.
"""

from configs.settings.execution import AlpacaGatewaySection
from configs.settings.feeds import FileFeedSection, LiveFeedSection, MarketDataSection
from configs.settings.loading import ENVIRONMENT_VARIABLES, is_overridden, load_settings
from configs.settings.stores import KafkaSection
from configs.settings.tree import Settings

__all__ = [
    "ENVIRONMENT_VARIABLES",
    "AlpacaGatewaySection",
    "FileFeedSection",
    "KafkaSection",
    "LiveFeedSection",
    "MarketDataSection",
    "Settings",
    "is_overridden",
    "load_settings",
]
