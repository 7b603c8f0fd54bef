"""The tables in SQL, a module a protocol of ``store.meta``; the same for every database."""
