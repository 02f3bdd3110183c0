"""Run the tests with their own services, and run temporary platforms for measurements."""
