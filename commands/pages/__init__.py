"""The dashboard's pages about commands: sending one, its progress, what was said, the catalog."""
