"""The platform on a fixed tape while it is killed, cut off, filled up and given wrong clocks; then compared."""
