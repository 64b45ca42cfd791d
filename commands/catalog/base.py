"""What every command of the catalog is and does; each command's own facts stand in its module.

Plain data in, plain data out: the queue keeps the rows, connect delivers the bytes.
"""

from __future__ import annotations

from collections.abc import Mapping

from commands.catalog import masks, support
from commands.catalog.parameters import Parameter, clean_parameters, understood
from commands.catalog.types import (
    NO_EXTRAS,
    UNKNOWN,
    Change,
    Effect,
    Extras,
    Facts,
    Platform,
    Priority,
    Support,
)
from mdm.protocol.connect import Status


class CommandType:
    """One RequestType: its facts as attributes, its bytes, and what its reply changes.

    `purpose` is one line for people. `support` is what each platform asks for; iPadOS stands
    under iOS. `effect` is its class: destructive ones lose data or lock people out, and are held
    to `commands/restraint.py`. `coalesce`: one waiting per channel is enough, as the newest answer
    is the only one of use. `sealed`: each receiver's entry carries its own bytes, encrypted at
    rest. `needs_unlock_token`: build wants the enrollment's stored token. `secret_keys` are hidden
    in raw views beside those that are secret by name. `never_not_now` are the platforms that answer
    at once even while locked.
    """

    request_type: str
    purpose: str
    parameters: tuple[Parameter, ...] = ()
    support: Mapping[Platform, Support] = {}
    effect: Effect = Effect.CHANGES
    priority: Priority = Priority.NORMAL
    coalesce: bool = False
    sealed: bool = False
    needs_unlock_token: bool = False
    secret_keys: frozenset[str] = frozenset()
    never_not_now: frozenset[Platform] = frozenset()

    @property
    def destructive(self) -> bool:
        """Whether the command is destructive, whatever its parameters."""
        return self.effect is Effect.DESTRUCTIVE

    def effect_of(self, params: Mapping[str, object]) -> Effect:
        """What the command does with these parameters, which `clean` returned."""
        return self.effect

    def clean(self, raw: object) -> dict[str, object]:
        """The parameters of `raw` (an API's JSON or a form) as build takes them.

        Raises InvalidParameters with one sentence per field.
        """
        return clean_parameters(raw, self.parameters)

    def refusal(self, facts: Facts, params: Mapping[str, object] | None = None) -> str | None:
        """A sentence saying why this receiver cannot run the command, or None.

        Only known facts refuse. Without parameters it answers for a menu: whether the command
        can be offered at all.
        """
        reason = support.refusal(self.request_type, self.support, facts) or self._why_not(facts)
        if reason or params is None:
            return reason
        return self._unknown_there(facts, params) or self._why_not_with(facts, params)

    def build(
        self,
        params: Mapping[str, object],
        facts: Facts = UNKNOWN,
        extras: Extras = NO_EXTRAS,
    ) -> dict[str, object]:
        """The `Command` dictionary with its RequestType, from parameters that clean returned.

        Keys that the receiver is known not to have are left out.
        """
        return {"RequestType": self.request_type, **understood(params, self.parameters, facts)}

    def changes(
        self, content: Mapping[str, object], command: Mapping[str, object] | None = None
    ) -> list[Change]:
        """What an Acknowledged reply changes; nothing for any other status.

        `content` is the reply's plist, `command` the `Command` dictionary that it answers (a
        filtered list must not replace a whole one). Never raises, whatever a device sends.
        """
        if content.get("Status") != Status.ACKNOWLEDGED:
            return []
        return self._changes(content, command or {})

    def may_be_not_now(self, platform: Platform | None = None) -> bool:
        """Whether a device of this platform may put the command off with NotNow.

        Source: Apple's MDM Protocol Reference (2019), on NotNow.
        """
        return platform is None or Platform(platform).described_as not in self.never_not_now

    def coalesce_key(self, params: Mapping[str, object]) -> str | None:
        """What at most one waiting command per channel may have; None where each one counts.

        A filtered query is not made superfluous by a whole one that waits, nor the reverse.
        """
        return self.request_type if self.coalesce and not params else None

    def masked_parameters(self, params: Mapping[str, object]) -> dict[str, object]:
        """The parameters for people to read, ready for JSON: secrets hidden, data as its size."""
        return masks.masked_parameters(params, self.secret_keys)

    def masked(self, message: bytes) -> bytes:
        """A stored command or reply as XML plist with its secrets hidden. Never raises."""
        return masks.masked(message, self.secret_keys)

    def _why_not(self, facts: Facts) -> str | None:
        return None

    def _why_not_with(self, facts: Facts, params: Mapping[str, object]) -> str | None:
        return None

    def _changes(
        self, content: Mapping[str, object], command: Mapping[str, object]
    ) -> list[Change]:
        return []

    def _unknown_there(self, facts: Facts, params: Mapping[str, object]) -> str | None:
        for parameter in self.parameters:
            given = params.get(parameter.key)
            if parameter.essential and given and parameter.is_missing_on(facts):
                return f"{parameter.label} is not available on this device."
        return None
