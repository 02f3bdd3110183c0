"""Pure logic without I/O, clock, randomness, configuration files or engine. `dataflows` connects it to the outside."""
