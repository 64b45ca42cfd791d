"""Pages for people who enroll a device. The device's own endpoint, /scep, is `endpoint.py`."""

from django.urls import path

from enrollment import views

app_name = "enrollment"
urlpatterns = [
    path("<str:token>/", views.page, name="page"),
    path("<str:token>/enroll.mobileconfig", views.download, name="download"),
]
