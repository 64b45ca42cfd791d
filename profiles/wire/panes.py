"""The panes of Setup Assistant that an ADE profile can skip.

Facts: Apple's device-management schema, skip keys. "iOS" is iPadOS too. Devices pass over keys that
they do not know, so a profile may skip others than these.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Since:
    """Where a pane is: from which version of an OS on, and until when. `always` says that it can be
    skipped in every flow of Setup Assistant.
    """

    os: str
    since: str
    deprecated: str = ""
    removed: str = ""
    always: bool = True

    def __str__(self) -> str:
        text = f"{self.os} {_short(self.since)}"
        if self.removed:
            return f"{text} until {_short(self.removed)}"
        if self.deprecated:
            return f"{text}, deprecated in {_short(self.deprecated)}"
        return text


@dataclass(frozen=True, slots=True)
class Pane:
    """A pane by its skip key: what people call it, and what it does, in a line."""

    key: str
    title: str
    line: str
    on: tuple[Since, ...]

    @property
    def where(self) -> str:
        """`iOS 13 · macOS 10.14`."""
        return " · ".join(map(str, self.on))


def _short(version: str) -> str:
    """`13` for 13.0; 10.10 stays."""
    return version.removesuffix(".0")


PANES: tuple[Pane, ...] = (
    Pane(
        "Accessibility",
        "Accessibility",
        "Offers settings for seeing, hearing and moving before anything else.",
        (Since(os="macOS", since="11.0", always=False),),
    ),
    Pane(
        "AccessibilityAppearance",
        "Accessibility appearance",
        "Offers larger text, bolder lines and less motion.",
        (Since(os="iOS", since="17.0"),),
    ),
    Pane(
        "ActionButton",
        "Action button",
        "Chooses what the Action button does.",
        (Since(os="iOS", since="17.0"),),
    ),
    Pane(
        "Diagnostics",
        "Analytics",
        "Asks whether analytics go to Apple.",
        (
            Since(os="iOS", since="7.0"),
            Since(os="macOS", since="10.9"),
            Since(os="tvOS", since="10.2"),
            Since(os="visionOS", since="26.0"),
        ),
    ),
    Pane(
        "AppStore",
        "App Store",
        "Presents the App Store.",
        (
            Since(os="iOS", since="14.3"),
            Since(os="macOS", since="11.1"),
        ),
    ),
    Pane(
        "Appearance",
        "Appearance",
        "Chooses light or dark.",
        (
            Since(os="iOS", since="13.0"),
            Since(os="macOS", since="10.14"),
        ),
    ),
    Pane(
        "AppleID",
        "Apple Account",
        "Asks to sign in with an Apple Account, and sets up iCloud.",
        (
            Since(os="iOS", since="7.0"),
            Since(os="macOS", since="10.9"),
            Since(os="tvOS", since="10.2"),
            Since(os="visionOS", since="26.0"),
        ),
    ),
    Pane(
        "Intelligence",
        "Apple Intelligence",
        "Presents Apple Intelligence.",
        (
            Since(os="iOS", since="18.0"),
            Since(os="macOS", since="15.0"),
            Since(os="visionOS", since="26.0"),
        ),
    ),
    Pane(
        "Payment",
        "Apple Pay",
        "Offers to add cards to Apple Pay.",
        (
            Since(os="iOS", since="8.1"),
            Since(os="macOS", since="10.12.4"),
            Since(os="visionOS", since="26.0"),
        ),
    ),
    Pane(
        "WatchMigration",
        "Apple Watch migration",
        "Offers to move a watch to this iPhone.",
        (Since(os="iOS", since="11.0"),),
    ),
    Pane(
        "CameraButton",
        "Camera Control",
        "Explains the Camera Control button.",
        (Since(os="iOS", since="18.0"),),
    ),
    Pane(
        "SIMSetup",
        "Cellular",
        "Adds a cellular plan.",
        (Since(os="iOS", since="12.0"),),
    ),
    Pane(
        "DeviceToDeviceMigration",
        "Device-to-device migration",
        "Offers to take data over from a device nearby.",
        (Since(os="iOS", since="12.4"),),
    ),
    Pane(
        "SpokenLanguage",
        "Dictation",
        "Chooses languages to dictate in.",
        (Since(os="iOS", since="13.0", always=False),),
    ),
    Pane(
        "Safety",
        "Emergency SOS",
        "Explains Emergency SOS.",
        (Since(os="iOS", since="16.0"),),
    ),
    Pane(
        "Biometric",
        "Face ID and Touch ID",
        "Enrolls a face, a finger or an iris.",
        (
            Since(os="iOS", since="8.1"),
            Since(os="macOS", since="10.12.4"),
            Since(os="visionOS", since="26.0"),
        ),
    ),
    Pane(
        "FileVault",
        "FileVault",
        "Asks whether to encrypt the disk.",
        (Since(os="macOS", since="10.10"),),
    ),
    Pane(
        "Welcome",
        "Get started",
        "Greets, and says what comes.",
        (
            Since(os="iOS", since="13.0"),
            Since(os="macOS", since="15.0"),
            Since(os="visionOS", since="26.0"),
        ),
    ),
    Pane(
        "HomeButtonSensitivity",
        "Home button",
        "Chooses how the Home button answers.",
        (Since(os="iOS", since="10.0", deprecated="15"),),
    ),
    Pane(
        "TVHomeScreenSync",
        "Home Screen sync",
        "Asks whether all Apple TVs share one Home Screen.",
        (Since(os="tvOS", since="11.0"),),
    ),
    Pane(
        "iCloudDiagnostics",
        "iCloud Analytics",
        "Asks whether iCloud data may be analyzed.",
        (Since(os="macOS", since="10.12.4"),),
    ),
    Pane(
        "iCloudStorage",
        "iCloud Documents and Desktop",
        "Asks whether documents and desktop go to iCloud.",
        (Since(os="macOS", since="10.13.4"),),
    ),
    Pane(
        "iMessageAndFaceTime",
        "iMessage and FaceTime",
        "Sets up the addresses of iMessage and FaceTime.",
        (Since(os="iOS", since="12.0"),),
    ),
    Pane(
        "Keyboard",
        "Keyboard",
        "Chooses keyboards.",
        (Since(os="iOS", since="13.0", always=False),),
    ),
    Pane(
        "LiquidGlass",
        "Liquid Glass",
        "Chooses how clear Liquid Glass is.",
        (
            Since(os="iOS", since="27.0"),
            Since(os="macOS", since="27.0"),
        ),
    ),
    Pane(
        "Location",
        "Location Services",
        "Asks whether location services are on.",
        (
            Since(os="iOS", since="7.0"),
            Since(os="macOS", since="10.11"),
            Since(os="tvOS", since="10.2"),
            Since(os="visionOS", since="26.0"),
        ),
    ),
    Pane(
        "EnableLockdownMode",
        "Lockdown Mode",
        "Offers Lockdown Mode where an Apple Account has it on.",
        (
            Since(os="iOS", since="17.1"),
            Since(os="macOS", since="14.0"),
        ),
    ),
    Pane(
        "MessagingActivationUsingPhoneNumber",
        "Messaging with a phone number",
        "Activates iMessage with the phone number.",
        (Since(os="iOS", since="10.0"),),
    ),
    Pane(
        "Android",
        "Move from Android",
        "Offers to take data over from an Android phone.",
        (Since(os="iOS", since="9.0"),),
    ),
    Pane(
        "Multitasking",
        "Multitasking",
        "Chooses how windows behave on an iPad.",
        (Since(os="iOS", since="26.0"),),
    ),
    Pane(
        "OnBoarding",
        "New features",
        "Presents new features of the device.",
        (Since(os="iOS", since="11.0", deprecated="14"),),
    ),
    Pane(
        "Passcode",
        "Passcode",
        "Asks for a passcode.",
        (
            Since(os="iOS", since="7.0"),
            Since(os="macOS", since="10.9"),
            Since(os="visionOS", since="26.0"),
        ),
    ),
    Pane(
        "Privacy",
        "Privacy",
        "Explains how Apple marks requests for data.",
        (
            Since(os="iOS", since="11.3"),
            Since(os="macOS", since="10.13.4"),
            Since(os="tvOS", since="11.3"),
            Since(os="visionOS", since="26.0"),
        ),
    ),
    Pane(
        "RestoreCompleted",
        "Restore completed",
        "Says that a restore is complete.",
        (Since(os="iOS", since="14.0"),),
    ),
    Pane(
        "Restore",
        "Restore from backup",
        "Offers to restore from a backup, or to migrate.",
        (
            Since(os="iOS", since="7.0"),
            Since(os="macOS", since="10.9"),
        ),
    ),
    Pane(
        "TVRoom",
        "Room",
        "Asks which room the Apple TV is in.",
        (Since(os="tvOS", since="11.4"),),
    ),
    Pane(
        "SafetyAndHandling",
        "Safety and handling",
        "Shows how to handle the device safely.",
        (Since(os="iOS", since="18.4", always=False),),
    ),
    Pane(
        "ScreenSaver",
        "Screen saver",
        "Offers aerial screen savers.",
        (Since(os="tvOS", since="10.2"),),
    ),
    Pane(
        "ScreenTime",
        "Screen Time",
        "Offers Screen Time.",
        (
            Since(os="iOS", since="12.0"),
            Since(os="macOS", since="10.15"),
            Since(os="visionOS", since="26.0"),
        ),
    ),
    Pane(
        "TapToSetup",
        "Set up with an iPhone",
        "Offers to set up by holding an iPhone near.",
        (
            Since(os="iOS", since="18"),
            Since(os="tvOS", since="10.2", always=False),
        ),
    ),
    Pane(
        "Siri",
        "Siri",
        "Offers Siri, and asks for a voice.",
        (
            Since(os="iOS", since="7.0"),
            Since(os="macOS", since="10.12"),
            Since(os="tvOS", since="10.2"),
            Since(os="visionOS", since="26.0"),
        ),
    ),
    Pane(
        "SoftwareUpdate",
        "Software update",
        "Asks whether to update by itself.",
        (
            Since(os="iOS", since="12.0"),
            Since(os="macOS", since="15.4"),
            Since(os="visionOS", since="26.0"),
        ),
    ),
    Pane(
        "TOS",
        "Terms and conditions",
        "Shows Apple’s terms and conditions.",
        (
            Since(os="iOS", since="7.0"),
            Since(os="macOS", since="10.9"),
            Since(os="tvOS", since="10.2"),
            Since(os="visionOS", since="26.0"),
        ),
    ),
    Pane(
        "TermsOfAddress",
        "Terms of address",
        "Chooses how the device speaks of its user.",
        (
            Since(os="iOS", since="16.0", always=False),
            Since(os="macOS", since="13.0", always=False),
        ),
    ),
    Pane(
        "Tips",
        "Tips",
        "Offers a tour of gestures.",
        (Since(os="visionOS", since="26.0"),),
    ),
    Pane(
        "DisplayTone",
        "True Tone",
        "Explains True Tone.",
        (
            Since(os="iOS", since="9.3.2", deprecated="15"),
            Since(os="macOS", since="10.13.6", deprecated="12"),
        ),
    ),
    Pane(
        "TVProviderSignIn",
        "TV provider",
        "Offers to sign in with a TV provider.",
        (Since(os="tvOS", since="11.0"),),
    ),
    Pane(
        "UnlockWithWatch",
        "Unlock with Apple Watch",
        "Offers to unlock the Mac with a watch.",
        (Since(os="macOS", since="15.0"),),
    ),
    Pane(
        "UpdateCompleted",
        "Update completed",
        "Says that an update is complete.",
        (
            Since(os="iOS", since="14.0"),
            Since(os="macOS", since="26.1"),
        ),
    ),
    Pane(
        "Wallpaper",
        "Wallpaper",
        "Chooses a wallpaper.",
        (Since(os="macOS", since="14.1", removed="26.0"),),
    ),
    Pane(
        "WebContentFiltering",
        "Web content filter",
        "Presents the filter for web content.",
        (Since(os="iOS", since="18.2", removed="26.1"),),
    ),
    Pane(
        "OSShowcase",
        "What is new in the OS",
        "Presents what is new in the OS.",
        (
            Since(os="iOS", since="26.0"),
            Since(os="macOS", since="26.1"),
        ),
    ),
    Pane(
        "Zoom",
        "Zoomed display",
        "Chooses standard or zoomed.",
        (
            Since(os="iOS", since="8.3", deprecated="17"),
            Since(os="visionOS", since="26.0"),
        ),
    ),
)
BY_KEY = {pane.key: pane for pane in PANES}
