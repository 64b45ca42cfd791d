"""Where the pages about commands live, below /commands/."""

from django.urls import path

from commands.pages import approvals, catalog, entry, jobs, send

app_name = "commands"
urlpatterns = [
    path("", jobs.jobs, name="jobs"),
    path("running", jobs.running, name="running"),
    path("catalog/", catalog.catalog, name="catalog"),
    path("send/", send.send, name="send"),
    path("send/selection", send.to_selection, name="to_selection"),
    path("entries/<int:pk>/", entry.entry, name="entry"),
    path("entries/<int:pk>/cancel", entry.cancel, name="cancel"),
    path("approvals/", approvals.approvals, name="approvals"),
    path("approvals/<int:pk>/approve", approvals.approve, name="approve"),
    path("approvals/<int:pk>/refuse", approvals.refuse, name="refuse"),
    path("approvals/pause/", approvals.pause, name="pause"),
    path("approvals/resume/", approvals.resume, name="resume"),
    path("<uuid:job_uuid>/", jobs.job, name="job"),
    path("<uuid:job_uuid>/cancel", jobs.cancel_rest, name="cancel_rest"),
]
