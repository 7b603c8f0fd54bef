"""The use cases, between the surfaces and the sources."""
