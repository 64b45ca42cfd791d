"""InstalledApplicationList: the apps on the device, managed or not."""

from __future__ import annotations

from collections.abc import Mapping

from commands.catalog import sections
from commands.catalog.base import CommandType
from commands.catalog.parameters import Parameter, ParameterType
from commands.catalog.types import (
    DEVICE_AND_USER,
    DEVICE_ONLY,
    AccessRight,
    Change,
    Effect,
    Platform,
    Priority,
    Support,
)

SECTION = "InstalledApplicationList"
_RIGHT = AccessRight.ALLOW_QUERY_APPLICATIONS

_ITEMS = (
    "AdHocCodeSigned",
    "AppStoreVendable",
    "BetaApp",
    "BundleSize",
    "DeviceBasedVPP",
    "DistributorIdentifier",
    "DynamicSize",
    "ExternalVersionIdentifier",
    "HasUpdateAvailable",
    "Identifier",
    "Installing",
    "IsAppClip",
    "IsValidated",
    "Name",
    "ShortVersion",
    "Version",
)


class InstalledApplicationList(CommandType):
    """`mdm/commands/application.installed.list.yaml` of Apple's device-management schema."""

    request_type = "InstalledApplicationList"
    purpose = "Ask the device which apps are installed."
    parameters = (
        Parameter(
            key="Identifiers",
            type=ParameterType.ARRAY,
            label="Bundle identifiers",
            help="Only these apps, one identifier a line. Empty asks for all.",
            limits={Platform.IOS: "7.0", Platform.MACOS: "10.15"},
            item=Parameter(
                key="Identifier",
                type=ParameterType.STRING,
                label="Bundle identifier",
                max_length=255,
            ),
        ),
        Parameter(
            key="ManagedAppsOnly",
            type=ParameterType.BOOLEAN,
            label="Managed apps only",
            help="Leave out the apps that this server did not install.",
            default=False,
            limits={Platform.IOS: "7.0", Platform.MACOS: "10.15"},
        ),
        Parameter(
            key="Items",
            type=ParameterType.ARRAY,
            label="Facts",
            help="Only these facts of each app, which is quicker. Empty asks for all.",
            limits={Platform.IOS: "14.0", Platform.MACOS: None, Platform.TVOS: "14.0"},
            max_length=len(_ITEMS),
            item=Parameter(key="Item", type=ParameterType.STRING, label="Fact", choices=_ITEMS),
        ),
    )
    support = {
        Platform.IOS: Support(
            min_version="5.0", user_enrollment=True, shared_ipad=DEVICE_ONLY, access=_RIGHT
        ),
        Platform.MACOS: Support(min_version="10.7", channels=DEVICE_AND_USER, access=_RIGHT),
        Platform.TVOS: Support(min_version="10.2", access=_RIGHT),
        Platform.VISIONOS: Support(min_version="1.1", user_enrollment=True, access=_RIGHT),
        Platform.WATCHOS: Support(min_version="10.0", access=_RIGHT),
    }
    priority = Priority.INVENTORY
    effect = Effect.READS
    coalesce = True
    never_not_now = frozenset({Platform.IOS})

    def _changes(
        self, content: Mapping[str, object], command: Mapping[str, object]
    ) -> list[Change]:
        if any(command.get(parameter.key) for parameter in self.parameters):
            return []
        section = sections.list_section(SECTION, content.get(SECTION))
        return [section] if section else []
