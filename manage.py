#!/usr/bin/env python
"""Django's command line for GuardMDM; `manage.py help` lists what there is."""

import os
import sys


def main() -> None:
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "mdm.settings")
    from mdm.local import environment

    environment.adopt(os.environ, sys.argv[1] if sys.argv[1:] else "")
    if sys.argv[1:2] in (["demo"], ["lab"]):
        # These two commands belong to an app that nothing else needs.
        os.environ.setdefault("GUARD_EXTRA_APPS", "lab")
    from django.core.management import execute_from_command_line

    from mdm.env import BadEnvironment

    try:
        execute_from_command_line(sys.argv)
    except BadEnvironment as error:
        sys.exit(str(error))
    except KeyboardInterrupt:
        sys.exit(130)


if __name__ == "__main__":
    main()
