"""Settings: the YAML files of this folder, environment overrides, and the typed tree that they form."""
