from django.apps import AppConfig
from django.utils.translation import gettext_lazy as _


class CatalogConfig(AppConfig):
    name = "catalog"
    verbose_name = _("노래방 카탈로그")
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        from infrastructure import staff_groups  # noqa: PLC0415 – models must be there first

        from . import checks  # noqa: F401, PLC0415 – registers the system checks
        from .staff_groups import GRANTS  # noqa: PLC0415

        staff_groups.declare(GRANTS)
