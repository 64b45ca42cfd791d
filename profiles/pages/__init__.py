"""The dashboard's pages about ADE profiles and groups."""
