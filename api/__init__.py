"""The HTTP API. Importing it is cheaper after `configs`, which is therefore imported first."""

import configs as configs
