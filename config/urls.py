"""Every address that Daybook answers. Imported by Django alone."""

from django.urls import path

from config import health

urlpatterns = [
    path("health/live", health.live, name="health-live"),
    path("health/ready", health.ready, name="health-ready"),
]
