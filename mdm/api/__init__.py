"""The core's part of the REST API; commands and enrollment have theirs in `api.py` each.

`mdm/api_urls.py` gives them their addresses, `mdm/serializers.py` their shapes.
"""
