"""`manage.py check_templates`: compiles every template of the project, so that a misspelt tag is
found by `make lint` and not by a visitor.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand
from django.template import TemplateSyntaxError, engines
from django.template.utils import get_app_template_dirs

from mdm.env import BASE_DIR


class Command(BaseCommand):
    help = "Compile every template of the project."
    requires_system_checks = ()

    def handle(self, *args: Any, **options: Any) -> None:
        failed = False
        for folder in _own_folders():
            for path in sorted(file for file in folder.rglob("*") if file.is_file()):
                if error := _error(path.relative_to(folder).as_posix()):
                    self.stderr.write(f"{path.relative_to(BASE_DIR)}: {error}")
                    failed = True
        if failed:
            sys.exit(1)


def _own_folders() -> list[Path]:
    folders = (Path(folder) for folder in get_app_template_dirs("templates"))
    own = [folder for folder in folders if folder.is_relative_to(BASE_DIR)]
    return [folder for folder in own if ".venv" not in folder.parts]


def _error(name: str) -> str:
    try:
        engines["django"].get_template(name)
    except TemplateSyntaxError as error:
        return str(error)
    return ""
