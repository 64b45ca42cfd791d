"""Health of a whole server: its workers and its beat are heard of, and what is asked is tried."""

from __future__ import annotations

from tests.e2e.waiting import until
from tests.e2e.world import World

PROCESSES = {
    "Workers of the queue celery": "Works",
    "Workers of the queue abm": "Works",
    "Beat": "Ticks",
}
PROBES = ("public_url", "push_certificate")


def test_the_real_processes_are_heard_of_and_a_worker_tries_what_is_asked(world: World) -> None:
    for name in PROBES:
        world.admin.press("/settings/health/", f"/settings/health/{name}/check")

    def told() -> tuple[dict[str, str], dict[str, str]]:
        health = world.admin.get("/health/")
        things = {each["name"]: each["word"] for each in health["things"]}
        probes = {each["name"]: each["state"] for each in health["probes"]}
        return {name: things[name] for name in PROCESSES}, {name: probes[name] for name in PROBES}

    until(
        lambda: told() == (PROCESSES, dict.fromkeys(PROBES, "good")),
        within=60,
        seen=told,
    )
