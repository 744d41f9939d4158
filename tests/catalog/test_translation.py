"""Staff read Korean first and English as the second language."""

from __future__ import annotations

import pytest
from django.apps import apps
from django.utils.translation import override


@pytest.mark.parametrize("label", ["catalog", "profiles"])
def test_every_name_staff_read_has_an_english_one(label):
    app = apps.get_app_config(label)
    shown = [app.verbose_name]
    for model in app.get_models():
        shown += [model._meta.verbose_name, model._meta.verbose_name_plural]
        shown += [field.verbose_name for field in model._meta.concrete_fields]
        shown += [word for field in model._meta.fields for _, word in field.choices or ()]
    with override("ko"):
        korean = [str(name) for name in shown]
    with override("en"):
        english = [str(name) for name in shown]
    assert any(name != other for name, other in zip(korean, english, strict=True))
    assert not [name for name in english if any("가" <= char <= "힣" for char in name)]
