"""Reading what API clients send: JSON of a bounded depth, in characters that can be kept.

Its size is bounded by DATA_UPLOAD_MAX_MEMORY_SIZE, before anything is read.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import IO, Any

from rest_framework import parsers
from rest_framework.exceptions import ParseError


class JSONParser(parsers.JSONParser):
    """JSON, nested no deeper than the interpreter can follow."""

    def parse(
        self,
        stream: IO[Any],
        media_type: str | None = None,
        parser_context: Mapping[str, Any] | None = None,
    ) -> Any:
        """The parsed body. Raises ParseError."""
        try:
            data = super().parse(stream, media_type, parser_context)
            json.dumps(data, ensure_ascii=False).encode()
        except RecursionError:
            raise ParseError("JSON parse error - nested too deeply") from None
        except UnicodeEncodeError:
            # An escape such as \ud800 alone is half a character: no database keeps it.
            raise ParseError("JSON parse error - an escape is half a character") from None
        return data
