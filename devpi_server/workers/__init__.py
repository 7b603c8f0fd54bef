"""Background work, each piece one ``tick()``."""
