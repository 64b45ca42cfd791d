"""Why a receiver cannot take a command, judged from the facts that are known of it.

What each command asks for stands in its own module.
"""

from __future__ import annotations

from collections.abc import Mapping

from commands.catalog.types import AccessRight, Facts, Platform, Support, version_key


def refusal(what: str, support: Mapping[Platform, Support], facts: Facts) -> str | None:
    """A sentence saying why `what` cannot go to a receiver with these facts, or None.

    Refuses only when every possibility that the facts leave open refuses, so forgetting a fact
    never turns a yes into a no. No support at all means that nothing is known of the command.
    """
    if not support:
        return None
    if not facts.platform:
        candidates = list(support.items())
    else:
        own = Platform(facts.platform).described_as
        if own not in support:
            return f"{what} does not exist on {facts.platform}."
        candidates = [(own, support[own])]
    reasons = [_why_not(what, platform, needs, facts) for platform, needs in candidates]
    return None if None in reasons else reasons[0]


def is_older(facts: Facts, min_version: str) -> bool:
    """Whether the receiver's OS version is known and below the given one."""
    runs, needs = version_key(facts.os_version), version_key(min_version)
    return runs is not None and needs is not None and runs < needs


def _why_not(what: str, platform: Platform, needs: Support, facts: Facts) -> str | None:
    return (
        _channel_reason(what, needs, facts)
        or _enrollment_reason(what, needs, facts)
        or _version_reason(what, platform, needs, facts)
        or _supervision_reason(what, needs, facts)
        or _right_reason(what, needs, facts)
    )


def _channel_reason(what: str, needs: Support, facts: Facts) -> str | None:
    shared = True if facts.channel == "shared_ipad_user" else facts.shared_ipad
    possible = [shared] if shared is not None else [False, True]
    reasons = [_one_channel_reason(what, needs, facts, on_shared) for on_shared in possible]
    return None if None in reasons else reasons[0]


def _one_channel_reason(what: str, needs: Support, facts: Facts, on_shared: bool) -> str | None:
    if on_shared and not needs.shared_ipad:
        return f"{what} cannot be sent to a Shared iPad."
    if needs.shared_ipad_only and not on_shared:
        return f"{what} is for Shared iPad alone."
    if facts.channel is None:
        return None
    allowed = needs.shared_ipad if on_shared else needs.channels
    if facts.channel == "device":
        return None if "device" in allowed else f"{what} goes to a user, not to the device."
    return None if "user" in allowed else f"{what} goes to the device, not to one of its users."


def _enrollment_reason(what: str, needs: Support, facts: Facts) -> str | None:
    if facts.kind == "user_enrollment" and not needs.user_enrollment:
        return f"{what} is not allowed in a user enrollment."
    return None


def _version_reason(what: str, platform: Platform, needs: Support, facts: Facts) -> str | None:
    if is_older(facts, needs.min_version):
        name = facts.platform or platform
        runs = (facts.os_version or "")[:32]
        return f"{what} needs {name} {needs.min_version} or later; this device runs {runs}."
    return None


def _supervision_reason(what: str, needs: Support, facts: Facts) -> str | None:
    if needs.supervised and facts.supervised is False:
        return f"{what} needs a supervised device; this one is not supervised."
    return None


def _right_reason(what: str, needs: Support, facts: Facts) -> str | None:
    # A user enrollment has no access rights to look at: the device ignores them there.
    if facts.kind != "device" or facts.access_rights is None:
        return None
    missing = needs.access & ~AccessRight(facts.access_rights & 0x1FFF)
    if missing:
        return f"{what} needs the right to {_RIGHT_WORDS[missing]}, which this enrollment lacks."
    return None


_RIGHT_WORDS: Mapping[AccessRight, str] = {
    AccessRight.ALLOW_INSPECTION: "see installed profiles",
    AccessRight.ALLOW_INSTALLATION_REMOVAL: "install and remove profiles",
    AccessRight.ALLOW_PASSCODE_REMOVAL_AND_LOCK: "lock the device and remove its passcode",
    AccessRight.ALLOW_DEVICE_ERASE: "erase the device",
    AccessRight.ALLOW_QUERY_DEVICE_INFORMATION: "ask for device information",
    AccessRight.ALLOW_QUERY_NETWORK_INFORMATION: "ask for network information",
    AccessRight.ALLOW_PROVISIONING_INSPECTION: "see provisioning profiles",
    AccessRight.ALLOW_PROVISIONING_INSTALLATION_REMOVAL: "install provisioning profiles",
    AccessRight.ALLOW_QUERY_APPLICATIONS: "see installed apps",
    AccessRight.ALLOW_QUERY_RESTRICTIONS: "see restrictions",
    AccessRight.ALLOW_QUERY_SECURITY: "ask for security information",
    AccessRight.ALLOW_SETTINGS: "change settings",
    AccessRight.ALLOW_APP_INSTALLATION: "manage apps",
}
