"""Where allauth leads to and from identity providers, below /accounts/."""

from django.urls import path

from mdm.accounts import views

urlpatterns = [
    path("oidc/<slug:provider_id>/login/", views.begin, name="openid_connect_login"),
    path("oidc/<slug:provider_id>/login/callback/", views.callback, name="openid_connect_callback"),
]
