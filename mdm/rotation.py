"""Key rotation: seals again, with the newest key, what older keys sealed.

Runs beside the live server, in small steps; a value that changes meanwhile is left as it became.
"""

from __future__ import annotations

from collections.abc import Callable

from django.apps import apps
from django.db.models import BinaryField, Model, Q
from django.db.models.functions import Substr

from mdm.audit.actor import Actor
from mdm.audit.record import allow, record
from mdm.secrets import SealedField, Unsealable, current_prefix, seal, unseal

_STEP = 500


def rotate(actor: Actor, say: Callable[[str], None] = lambda line: None) -> tuple[int, int]:
    """Returns how many values were sealed anew and how many no listed key opens.

    Raises NotAllowed.
    """
    allow(actor, "keys.rotate")
    done = stuck = 0
    for model, field in sealed_fields():
        again, closed = _rotate_field(model, field)
        if again or closed:
            say(f"{model.__name__}.{field.name}: {again} sealed anew, {closed} cannot be opened")
        done, stuck = done + again, stuck + closed
    record(
        actor,
        "keys.rotate",
        subject_kind="server",
        subject_id="encryption keys",
        after={"sealed_anew": done, "cannot_be_opened": stuck},
    )
    return done, stuck


def sealed_fields() -> list[tuple[type[Model], SealedField]]:
    """Every sealed column of the project."""
    return [
        (model, field)
        for model in apps.get_models()
        for field in model._meta.local_fields
        if isinstance(field, SealedField)
    ]


def _rotate_field(model: type[Model], field: SealedField) -> tuple[int, int]:
    done = stuck = after = 0
    prefix = current_prefix()
    outdated = model._default_manager.annotate(
        sealed_with=Substr(field.name, 1, len(prefix), output_field=BinaryField())
    ).filter(Q(**{f"{field.name}__isnull": False}) & ~Q(sealed_with=prefix))
    while True:
        rows = list(
            outdated.filter(pk__gt=after).order_by("pk").values_list("pk", field.name)[:_STEP]
        )
        if not rows:
            return done, stuck
        for pk, sealed in rows:
            fresh = _fresh(field, bytes(sealed))
            if fresh is None:
                stuck += 1
                continue
            # Only where it is still what was read: the server goes on meanwhile.
            unchanged = model._default_manager.filter(pk=pk, **{field.name: bytes(sealed)})
            done += unchanged.update(**{field.name: fresh})
        after = rows[-1][0]


def _fresh(field: SealedField, sealed: bytes) -> bytes | None:
    for purpose in field.purposes:
        try:
            return seal(purpose, unseal(purpose, sealed))
        except Unsealable:
            continue
    return None
