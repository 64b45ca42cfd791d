"""Raw: a command that an admin pastes as a plist, for what the catalog has no form for yet.

A pasted command that the catalog knows is held to the known command's rules, so that pasting is
no way round them.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from commands.catalog.base import CommandType
from commands.catalog.errors import InvalidParameters
from commands.catalog.parameters import Parameter, ParameterType
from commands.catalog.types import NO_EXTRAS, UNKNOWN, Change, Effect, Extras, Facts
from mdm.protocol.errors import ProtocolError
from mdm.protocol.plist import Budget, safe_plist_loads

_BUDGET = Budget(size=1024 * 1024, depth=16, nodes=20_000, expanded=2 * 1024 * 1024)
_REQUEST_TYPE = re.compile("[A-Za-z][A-Za-z0-9]{0,59}")


class Raw(CommandType):
    """The form to paste into; `catalog.prepare` turns what it holds into a PastedCommand."""

    request_type = "Raw"
    purpose = "Send a command as a plist dictionary, exactly as you write it."
    parameters = (
        Parameter(
            key="Plist",
            type=ParameterType.STRING,
            label="Command",
            help="A plist dictionary with RequestType and the keys of that command.",
            required=True,
            secret=True,
            multiline=True,
            max_length=_BUDGET.size,
        ),
    )
    effect = Effect.DESTRUCTIVE
    sealed = True

    def clean(self, raw: object) -> dict[str, object]:
        """The pasted dictionary itself, its RequestType included."""
        return _pasted_dictionary(str(super().clean(raw)["Plist"]))


class PastedCommand(CommandType):
    """A pasted command: what it is called, what rules it is held to, its bytes as they came.

    A known RequestType brings its own facts. One that the catalog does not know counts as
    destructive unless it is one of Apple's plain queries, and its bytes are sealed, since nobody
    has said which of its keys are secret.
    """

    def __init__(self, request_type: str, known: CommandType | None = None) -> None:
        self.request_type = request_type
        self._known = known
        if known is None:
            self.purpose = "A command pasted as a plist."
            plain = request_type in _PLAIN_QUERIES
            self.effect = Effect.READS if plain else Effect.DESTRUCTIVE
            self.sealed = True
            return
        self.purpose = known.purpose
        self.support = known.support
        self.effect = known.effect
        self.priority = known.priority
        self.sealed = known.sealed
        self.needs_unlock_token = known.needs_unlock_token
        self.secret_keys = known.secret_keys
        self.never_not_now = known.never_not_now

    def effect_of(self, params: Mapping[str, object]) -> Effect:
        return self.effect if self._known is None else self._known.effect_of(params)

    def refusal(self, facts: Facts, params: Mapping[str, object] | None = None) -> str | None:
        return None if self._known is None else self._known.refusal(facts, params)

    def build(
        self,
        params: Mapping[str, object],
        facts: Facts = UNKNOWN,
        extras: Extras = NO_EXTRAS,
    ) -> dict[str, object]:
        if self.needs_unlock_token and "UnlockToken" not in params and self._known is not None:
            return {**params, **self._known.build({}, facts, extras)}
        return dict(params)

    def _changes(
        self, content: Mapping[str, object], command: Mapping[str, object]
    ) -> list[Change]:
        return [] if self._known is None else self._known.changes(content, command)


def _pasted_dictionary(text: str) -> dict[str, object]:
    try:
        command = safe_plist_loads(text.encode("utf-8"), _BUDGET)
        inner = command.get("Command")
        # Whoever copies a whole message from elsewhere means the command inside it.
        if "RequestType" not in command and isinstance(inner, dict):
            command = inner
    except ProtocolError as error:
        raise InvalidParameters({"Plist": str(error)}) from None
    request_type = command.get("RequestType")
    if not isinstance(request_type, str) or not _REQUEST_TYPE.fullmatch(request_type):
        raise InvalidParameters(
            {"Plist": "The dictionary needs a RequestType of up to 60 letters."}
        )
    return command


# Commands of Apple's schema that only read, change nothing and have no module here yet.
_PLAIN_QUERIES = frozenset(
    {
        "ActiveNSExtensions",
        "AvailableOSUpdates",
        "ContentCachingInformation",
        "DeclarativeManagement",
        "ManagedApplicationAttributes",
        "ManagedApplicationConfiguration",
        "ManagedApplicationFeedback",
        "ManagedApplicationList",
        "ManagedMediaList",
        "NSExtensionMappings",
        "OSUpdateStatus",
        "ProvisioningProfileList",
        "Restrictions",
        "UserList",
    }
)
