"""Pure logic: no I/O, no clock, no randomness, no configuration files, no engine. Wired together in `dataflows`."""
