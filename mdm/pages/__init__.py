"""The dashboard's pages of the core; what every page shares stands in `frame.py`.

Each app keeps its dashboard pages in `pages` and what devices and people without an account
meet in `views` or `endpoints`.
"""
