"""Dictionaries with anything in them, as a hostile device or a careless client might send."""

from __future__ import annotations

import plistlib

from hypothesis import strategies as st

KEYS = st.text(max_size=20) | st.sampled_from(
    [
        "Status",
        "QueryResponses",
        "SecurityInfo",
        "ProfileList",
        "InstalledApplicationList",
        "CertificateList",
        "ServiceSubscriptions",
        "Data",
        "CommonName",
        "DeviceName",
        "IsSupervised",
        "BatteryLevel",
        "IMEI",
        "PIN",
        "Message",
        "Queries",
        "ReturnToService",
        "Enabled",
        "Identifiers",
        "Identifier",
        "ManagedOnly",
        "Payload",
        "Plist",
        "RequestType",
    ]
)
LEAVES = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=40)
    | st.binary(max_size=40)
    | st.datetimes()
    | st.builds(plistlib.UID, st.integers(0, 2**32))
)
VALUES = st.recursive(
    LEAVES,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(KEYS, inner, max_size=4),
    max_leaves=12,
)
DICTIONARIES = st.dictionaries(KEYS, VALUES, max_size=6)
