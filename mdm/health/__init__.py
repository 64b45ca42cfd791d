"""Whether this server works: what its parts say of themselves (`things.py`, `pulse.py`,
`readings.py`), and what was tried for real (`probes.py`).

The page is `mdm/pages/health.py`; upper apps add their own when they load.
"""
