"""Settings: the YAML files of this folder, environment overrides, and the typed tree that they form."""

from configs.import_cost import reduce_import_cost

reduce_import_cost()
