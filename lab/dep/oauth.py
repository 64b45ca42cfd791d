"""Who opens a session: OAuth 1.0a as Apple wants it, checked by oauthlib. Its words for what is
wrong are Apple's, as they have been seen."""

from __future__ import annotations

import logging
from collections import deque

from oauthlib.common import Request
from oauthlib.oauth1 import RequestValidator, SignatureOnlyEndpoint

from lab.dep.portal import MdmServer, Portal
from lab.dep.tokens import Token

# How far a client's clock may be from Apple's, in seconds.
WINDOW = 300
_REMEMBERED = 100_000

logging.getLogger("oauthlib").setLevel(logging.WARNING)


class Doorkeeper:
    """Remembers nonces, so that no request is heard twice."""

    def __init__(self, portal: Portal) -> None:
        self._portal = portal
        self._seen: set[tuple[str, int, str]] = set()
        self._order: deque[tuple[str, int, str]] = deque()

    def admit(self, url: str, authorization: str) -> tuple[MdmServer | None, int, str]:
        """The server whose token signed a GET for `url`, or a status and why not."""
        check = _Check(self, self._portal)
        headers = {"Authorization": authorization}
        try:
            _, request = SignatureOnlyEndpoint(check).validate_request(url, "GET", None, headers)
        except ValueError:
            # oauthlib lets this out for a header that is none.
            request = None
        if request is None:
            return None, 400, "MISSING_OAUTH_PARAMETER"
        server = check.server
        if not request.validator_log.get("signature") and not check.why:
            check.why = "signature_invalid" if "signature" in request.validator_log else ""
        if check.why or server is None or server.token is None:
            status = 401 if check.why else 400
            return None, status, check.why or "UNSUPPORTED_OAUTH_PARAMETER"
        if self._portal.clock.now().timestamp() >= server.token.expires:
            return None, 401, "oauth_problem_adviser token_expired"
        return server, 200, ""

    def is_new(self, key: str, moment: int, nonce: str) -> bool:
        """Whether this nonce was not used before; it is used now."""
        entry = (key, moment, nonce)
        if entry in self._seen:
            return False
        self._seen.add(entry)
        self._order.append(entry)
        if len(self._order) > _REMEMBERED:
            self._seen.discard(self._order.popleft())
        return True


class _Check(RequestValidator):  # type: ignore[misc]
    """One request's check; `why` is Apple's word for what is wrong with it."""

    enforce_ssl = False
    dummy_client = "nobody"

    def __init__(self, keeper: Doorkeeper, portal: Portal) -> None:
        super().__init__()
        self._keeper, self._portal = keeper, portal
        self.server: MdmServer | None = None
        self.why = ""

    @property
    def timestamp_lifetime(self) -> int:
        """Checked below, by Apple's clock."""
        return 10**12

    def check_client_key(self, client_key: str) -> bool:
        return bool(client_key)

    def check_nonce(self, nonce: str) -> bool:
        return bool(nonce)

    def check_access_token(self, request_token: str) -> bool:
        return bool(request_token)

    def validate_timestamp_and_nonce(
        self, client_key: str, timestamp: str, nonce: str, request: Request, **_: str
    ) -> bool:
        moment = int(timestamp)
        if abs(moment - self._portal.clock.now().timestamp()) > WINDOW:
            self.why = "oauth_problem_adviser timestamp_refused"
        elif not self._keeper.is_new(client_key, moment, nonce):
            self.why = "oauth_problem_adviser nonce_used"
        return not self.why

    def validate_client_key(self, client_key: str, request: Request) -> bool:
        self.server = self._find(client_key)
        if self.server is None:
            self.why = "oauth_problem_adviser consumer_key_unknown"
        elif self._token(self.server).access_token != request.resource_owner_key:
            self.why = "oauth_problem_adviser token_rejected"
        return not self.why

    def get_client_secret(self, client_key: str, request: Request) -> str:
        server = self._find(client_key)
        return self._token(server).consumer_secret if server else "none"

    def get_access_token_secret(self, client_key: str, token: str, request: Request) -> str:
        server = self._find(client_key)
        return self._token(server).access_secret if server else "none"

    def _find(self, client_key: str) -> MdmServer | None:
        return next(
            (
                server
                for server in self._portal.servers.values()
                if server.token and server.token.consumer_key == client_key
            ),
            None,
        )

    def _token(self, server: MdmServer) -> Token:
        assert server.token is not None
        return server.token
