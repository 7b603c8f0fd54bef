"""HTTP in: the one importer of bottle."""
