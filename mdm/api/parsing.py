"""Reading what API clients send: JSON of a bounded size and depth."""

from __future__ import annotations

from collections.abc import Mapping
from typing import IO, Any

from rest_framework import parsers
from rest_framework.exceptions import ParseError

from mdm.api.errors import TooLarge

# A configuration profile in base64 and 100,000 receivers fit several times over.
MAX_BODY = 16 * 1024 * 1024


class JSONParser(parsers.JSONParser):
    """JSON whose size is known before it is read."""

    def parse(
        self,
        stream: IO[Any],
        media_type: str | None = None,
        parser_context: Mapping[str, Any] | None = None,
    ) -> Any:
        """The parsed body. Raises ParseError, and TooLarge above MAX_BODY bytes."""
        request = (parser_context or {}).get("request")
        length = request.META.get("CONTENT_LENGTH") if request is not None else None
        if length and int(length) > MAX_BODY:
            raise TooLarge(f"At most {MAX_BODY:,} bytes are read.")
        try:
            return super().parse(stream, media_type, parser_context)
        except RecursionError:
            raise ParseError("JSON parse error - nested too deeply") from None
