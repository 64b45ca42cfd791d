"""How a device speaks HTTP: TLS verified against the certificates it trusts, one answer or one
error. What it says is made in `lab.devices`."""

from __future__ import annotations

import ssl
from dataclasses import dataclass

import httpx

from lab.errors import ServerRefused, ServerUnreachable

MAX_BODY = 32 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Answer:
    """`url` is where the answer came from, redirects followed."""

    status: int
    content_type: str
    body: bytes
    url: str


class Web:
    """Connections that trust `authorities` (PEM certificates) and nothing else. Devices of one
    server share one: their keys sign each request, so the connection says nothing of them."""

    def __init__(self, authorities: bytes, *, connections: int = 64, timeout: float = 30.0) -> None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.load_verify_locations(cadata=authorities.decode("ascii"))
        self._client = httpx.AsyncClient(
            verify=context,
            trust_env=False,
            timeout=timeout,
            limits=httpx.Limits(max_connections=connections, keepalive_expiry=5),
        )

    async def ask(
        self,
        method: str,
        url: str,
        body: bytes | None = None,
        headers: dict[str, str] | None = None,
    ) -> Answer:
        """Send one request; GET follows redirects, as devices do. Raises ServerUnreachable."""
        try:
            response = await self._client.request(
                method, url, content=body, headers=headers, follow_redirects=method == "GET"
            )
        except (httpx.HTTPError, httpx.InvalidURL, OSError, ssl.SSLError) as error:
            raise ServerUnreachable(
                f"{method} {_origin(url)}: {error or type(error).__name__}"
            ) from error
        if len(response.content) > MAX_BODY:
            raise ServerUnreachable(f"{method} {_origin(url)}: the answer is too large")
        content_type = response.headers.get("content-type", "").partition(";")[0].strip().lower()
        return Answer(response.status_code, content_type, response.content, str(response.url))

    async def fetch(self, method: str, url: str, body: bytes | None = None) -> bytes:
        """The body of a 2xx answer. Raises ServerRefused and ServerUnreachable."""
        headers = {"Content-Type": "application/x-pki-message"} if body is not None else None
        answer = await self.ask(method, url, body, headers)
        if not 200 <= answer.status < 300:
            raise ServerRefused(answer.status, answer.body)
        return answer.body

    async def close(self) -> None:
        await self._client.aclose()


class Webs:
    """One `Web` for each set of trusted certificates: a TLS context costs more than a request."""

    def __init__(self) -> None:
        self._webs: dict[bytes, Web] = {}

    def trusting(self, authorities: bytes) -> Web:
        if authorities not in self._webs:
            self._webs[authorities] = Web(authorities)
        return self._webs[authorities]

    async def close(self) -> None:
        for web in self._webs.values():
            await web.close()
        self._webs.clear()


def _origin(url: str) -> str:
    return url.partition("?")[0]
