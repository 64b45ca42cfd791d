"""RemoveProfile: takes an installed configuration profile away.

With the identifier of the enrollment profile it ends the management of the device.
"""

from __future__ import annotations

from collections.abc import Mapping

from commands.catalog.base import CommandType
from commands.catalog.install_profile import PROFILE_SUPPORT
from commands.catalog.parameters import Parameter, ParameterType
from commands.catalog.types import AskAgain, Change, Effect


class RemoveProfile(CommandType):
    """`mdm/commands/profile.remove.yaml` of Apple's device-management schema."""

    request_type = "RemoveProfile"
    purpose = "Remove a configuration profile that this server installed."
    parameters = (
        Parameter(
            key="Identifier",
            type=ParameterType.STRING,
            label="Profile identifier",
            help="The PayloadIdentifier of the profile, such as com.example.wifi.",
            required=True,
            max_length=255,
        ),
    )
    support = PROFILE_SUPPORT
    # Identifiers of profiles that hold the management itself; who makes them names them.
    ends_management: set[str] = set()

    def effect_of(self, params: Mapping[str, object]) -> Effect:
        ends = params.get("Identifier") in self.ends_management
        return Effect.DESTRUCTIVE if ends else self.effect

    def _changes(
        self, content: Mapping[str, object], command: Mapping[str, object]
    ) -> list[Change]:
        return [AskAgain("ProfileList")]
