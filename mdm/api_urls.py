"""Where the REST API's addresses lead, those of every app together."""

from __future__ import annotations

from django.urls import URLPattern, URLResolver, path, re_path
from rest_framework.routers import SimpleRouter

from abm.api import (
    AbmDeviceViewSet,
    DisownDeviceViewSet,
    DisownViewSet,
    LedgerViewSet,
    RunViewSet,
    ServerViewSet,
)
from commands.api import (
    ApprovalViewSet,
    CommandTypeViewSet,
    CommandViewSet,
    EntryViewSet,
    PauseViewSet,
)
from enrollment.api import (
    AppleCertificateViewSet,
    ArrivalViewSet,
    EnrollmentViewSet,
    LinkViewSet,
    MinimumOSViewSet,
    RefusedArrivalViewSet,
)
from mdm.api.answers import NothingHere
from mdm.api.audit import AuditEventViewSet, RefusedRequestViewSet
from mdm.api.devices import DeviceViewSet
from mdm.api.docs import DocsView, SchemaView
from mdm.api.health import BackupViewSet, HealthCheckViewSet, HealthView
from mdm.api.identities import IdentityViewSet
from mdm.api.overview import OverviewView
from mdm.api.people import GrantViewSet, PersonViewSet, RightViewSet
from mdm.api.push_certificates import PushCertificateViewSet
from mdm.api.quarantine import QuarantineViewSet
from mdm.api.search import SearchView
from mdm.api.sessions import SessionViewSet
from mdm.api.tokens import TokenViewSet
from mdm.api.webhooks import DeliveryViewSet, KindViewSet, WebhookViewSet
from mdm.api.work import WorkViewSet
from profiles.api import (
    DefaultViewSet,
    GroupViewSet,
    MemberViewSet,
    ProfileViewSet,
    WantedViewSet,
)

app_name = "api"

router = SimpleRouter(use_regex_path=False)
router.register("devices", DeviceViewSet)
router.register("enrollments", EnrollmentViewSet)
router.register("identities", IdentityViewSet, basename="identity")
router.register("commands", CommandViewSet)
router.register("entries", EntryViewSet)
router.register("approvals", ApprovalViewSet, basename="approval")
router.register("destructive-pauses", PauseViewSet, basename="destructivepause")
router.register("command-types", CommandTypeViewSet, basename="commandtype")
router.register("abm-servers", ServerViewSet, basename="abmserver")
router.register("abm-devices", AbmDeviceViewSet, basename="abmdevice")
router.register("abm-runs", RunViewSet, basename="abmrun")
router.register("abm-disowns", DisownViewSet, basename="abmdisown")
router.register("abm-disown-devices", DisownDeviceViewSet, basename="abmdisowndevice")
router.register("abm-ledger", LedgerViewSet, basename="abmledger")
router.register("ade-profiles", ProfileViewSet, basename="adeprofile")
router.register("ade-defaults", DefaultViewSet, basename="adedefault")
router.register("ade-devices", WantedViewSet, basename="adedevice")
router.register("arrivals", ArrivalViewSet, basename="arrival")
router.register("refused-arrivals", RefusedArrivalViewSet, basename="refusedarrival")
router.register("apple-certificates", AppleCertificateViewSet, basename="applecertificate")
router.register("minimum-os", MinimumOSViewSet, basename="minimumos")
router.register("groups", GroupViewSet, basename="group")
router.register("group-members", MemberViewSet, basename="groupmember")
router.register("links", LinkViewSet)
router.register("quarantine", QuarantineViewSet)
router.register("push-certificates", PushCertificateViewSet, basename="pushcertificate")
router.register("tokens", TokenViewSet, basename="token")
router.register("sessions", SessionViewSet, basename="session")
router.register("webhooks", WebhookViewSet, basename="webhook")
router.register("webhook-deliveries", DeliveryViewSet, basename="webhookdelivery")
router.register("webhook-kinds", KindViewSet, basename="webhookkind")
router.register("audit-events", AuditEventViewSet, basename="auditevent")
router.register("refused-requests", RefusedRequestViewSet, basename="refusedrequest")
router.register("people", PersonViewSet, basename="person")
router.register("grants", GrantViewSet, basename="grant")
router.register("rights", RightViewSet, basename="right")
router.register("health-checks", HealthCheckViewSet, basename="healthcheck")
router.register("work", WorkViewSet, basename="work")
router.register("backups", BackupViewSet, basename="backup")

urlpatterns: list[URLPattern | URLResolver] = [
    *router.urls,
    path("search/", SearchView.as_view({"get": "search"}), name="search"),
    path("overview/", OverviewView.as_view(), name="overview"),
    path("health/", HealthView.as_view(), name="health"),
    path("schema/", SchemaView.as_view(), name="schema"),
    path("docs/", DocsView.as_view(), name="docs"),
    re_path(r"", NothingHere.as_view(), name="nothing-here"),
]
