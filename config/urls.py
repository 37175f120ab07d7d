"""Every address that Daybook answers. Imported by Django alone."""

from django.contrib import admin
from django.urls import include, path, re_path
from django.views.generic import RedirectView

from config import health, metrics
from config.staff.passwords import change_password
from config.unknown import counted_unknown_address

urlpatterns = [
    path("health/live", health.live, name="health-live"),
    path("health/ready", health.ready, name="health-ready"),
    path("metrics", metrics.metrics, name="metrics"),
    path("api/v1/", include("config.api")),
    re_path(r"^api(/(?s:.*))?\Z", counted_unknown_address),
    path("admin", RedirectView.as_view(pattern_name="admin:index")),
    path("admin/", admin.site.urls),
    path("password", change_password, name="password"),
    path("", include("views_readmodel.pages.urls")),
]

handler400 = "config.plain_text.not_understood"
handler403 = "config.failures.forbidden"
handler404 = "config.failures.not_found"
handler500 = "config.failures.broken"
