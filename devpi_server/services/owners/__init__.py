"""Who has the files of an index: one protocol, and an implementation a type of index."""
