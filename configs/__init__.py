"""What can be set: the YAML files of this folder, environment overrides, and the one typed tree they become."""
