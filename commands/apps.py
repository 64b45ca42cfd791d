"""The commands app: it answers connect, and empties the queue when an enrollment begins or ends."""

from __future__ import annotations

from typing import Any

from django.apps import AppConfig


class CommandsConfig(AppConfig):
    name = "commands"

    def ready(self) -> None:
        from commands import catalog, connect, events, queue, times
        from commands.pages import registered
        from mdm import endpoints, signals, statements
        from mdm.accounts import rights

        endpoints.handle_connect_with(connect.connect)
        registered.register()
        events.register()
        times.register()
        # A pasted command goes by its own name.
        rights.ALSO[:] = [
            each.request_type
            for each in catalog.all_types()
            if each.destructive and each.request_type != "Raw"
        ]

        def on_ended(enrollment_id: int, **_: Any) -> None:
            queue.clear(enrollment_id, because="the enrollment ended")

        statements.void_with(queue.VOID)
        signals.enrollment_ended.connect(on_ended, weak=False)
