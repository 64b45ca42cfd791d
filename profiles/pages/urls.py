"""Where the pages about ADE profiles and groups live."""

from django.urls import path

from profiles.pages import defaults, form, giving, groups, library, undoing, versions

app_name = "profiles"

urlpatterns = [
    path("ade-profiles/", library.profiles, name="profiles"),
    path("ade-profiles/new/", form.create, name="create"),
    path("ade-profiles/defaults/", defaults.defaults, name="defaults"),
    path("ade-profiles/choose", giving.choose, name="choose"),
    path("ade-profiles/give/", giving.give, name="give"),
    path("ade-profiles/version-<int:version>/", library.by_version, name="by_version"),
    path("ade-profiles/<int:pk>/", library.profile, name="profile"),
    path("ade-profiles/<int:pk>/edit/", form.edit, name="edit"),
    path("ade-profiles/<int:pk>/rename", library.rename, name="rename"),
    path("ade-profiles/<int:pk>/duplicate", library.duplicate, name="duplicate"),
    path("ade-profiles/<int:pk>/archive", library.archive, name="archive"),
    path("ade-profiles/<int:pk>/restore", library.restore, name="restore"),
    path("ade-profiles/<int:pk>/apple/<int:definition>/", versions.compare, name="compare"),
    path("ade-profiles/<int:pk>/versions/<int:number>/", versions.version, name="version"),
    path("ade-profiles/<int:pk>/versions/<int:number>/apply", versions.apply, name="apply"),
    path("ade-profiles/<int:pk>/versions/<int:number>/discard", versions.discard, name="discard"),
    path("groups/", groups.groups, name="groups"),
    path("groups/new/", groups.create, name="group_create"),
    path("groups/new-smart/", groups.create_smart, name="group_create_smart"),
    path("groups/count", groups.count, name="rule_count"),
    path("groups/<int:pk>/", groups.group, name="group"),
    path("groups/<int:pk>/rule/", groups.rule, name="group_rule"),
    path("groups/<int:pk>/give", groups.give, name="group_give"),
    path("groups/<int:pk>/rename", groups.rename, name="group_rename"),
    path("groups/<int:pk>/move", groups.move, name="group_move"),
    path("groups/<int:pk>/add", groups.add, name="group_add"),
    path("groups/<int:pk>/remove", groups.remove, name="group_remove"),
    path("groups/<int:pk>/put-back", undoing.put_back, name="group_put_back"),
    path("groups/<int:pk>/take-out", undoing.take_out, name="group_take_out"),
    path("groups/<int:pk>/delete/", groups.delete, name="group_delete"),
]
