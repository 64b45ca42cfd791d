"""The dashboard's pages about enrollment; the page behind a link is `enrollment/views.py`."""
