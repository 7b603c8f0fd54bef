"""The simple API on the wire, as pure functions: negotiate, parse, render."""
