"""Where the pages about Apple Business Manager live, below /abm/."""

from django.urls import path

from abm.pages import assignments, devices, disowns, import_serials, runs, servers, sync

app_name = "abm"

_EXPORT = {"what": "all"}
_SERIALS = {"what": "serials"}

urlpatterns = [
    path("devices/", devices.devices, name="devices"),
    path("devices/export.csv", devices.export, name="devices_export"),
    path("devices/serial-numbers.csv", devices.export_serials, name="devices_serials"),
    path("devices/selected.csv", devices.export_selected, _EXPORT, name="export_selected"),
    path("devices/selected-serials.csv", devices.export_selected, _SERIALS, name="export_serials"),
    path("devices/send", devices.send_command, name="send_command"),
    path("devices/import/", import_serials.import_serials, name="devices_import"),
    path("devices/import/<slug:key>/", import_serials.result, name="import_result"),
    path("devices/import/<slug:key>/unknown.csv", import_serials.unknown, name="import_unknown"),
    path("devices/import/<slug:key>/problems.csv", import_serials.problems, name="import_problems"),
    path("devices/disowns/", disowns.disowns, name="disowns"),
    path("devices/disowns/choose", disowns.choose, name="disown_choose"),
    path("devices/disowns/new/", disowns.confirm, name="disown_confirm"),
    path("devices/disowns/<int:pk>/", disowns.disown, name="disown"),
    path("devices/disowns/<int:pk>/stop", disowns.stop, name="disown_stop"),
    path("assignment/", assignments.assignments, name="assignments"),
    path("assignment/<int:pk>/", assignments.assignment, name="assignment"),
    path("assignment/<int:pk>/pause", assignments.pause, name="assignment_pause"),
    path("assignment/<int:pk>/resume", assignments.resume, name="assignment_resume"),
    path("sync", sync.card, name="sync_card"),
    path("sync-now", sync.sync_now, name="sync_now"),
    path("running", sync.running, name="running"),
    path("runs/", runs.runs, name="runs"),
    path("runs/<int:pk>/", runs.run, name="run"),
    path("runs/<int:pk>/devices/", runs.decisions, name="run_devices"),
    path("servers/", servers.servers, name="servers"),
    path("servers/new/", servers.create, name="server_create"),
    path("servers/<int:pk>/", servers.server, name="server"),
    path("servers/<int:pk>/upload", servers.upload, name="token_upload"),
    path("servers/<int:pk>/check", servers.check, name="token_check"),
    path("servers/<int:pk>/certificate.pem", servers.certificate, name="certificate"),
    path("servers/<int:pk>/key", servers.new_key, name="new_key"),
    path("servers/<int:pk>/change", servers.change, name="server_change"),
    path("servers/<int:pk>/disconnect/", servers.disconnect, name="server_disconnect"),
]
