"""The lab's own Apple, made once for all of its tests."""

from __future__ import annotations

import pytest

from lab.authority import Authority, ensure_authority


@pytest.fixture(scope="session")
def apple(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return ensure_authority(tmp_path_factory.mktemp("apple"))
