"""The admin as a Django application, with Daybook's own site. Settings name it in the place of Django's."""

from django.contrib.admin.apps import AdminConfig


class DaybookAdminConfig(AdminConfig):
    """Django's admin, with our site."""

    default_site = "config.staff.site.DaybookAdminSite"
