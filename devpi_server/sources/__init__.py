"""An index is a value that you can ask for a view of a project."""
