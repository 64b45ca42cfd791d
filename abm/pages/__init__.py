"""The dashboard's pages about Apple Business Manager."""
