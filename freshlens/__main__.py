"""``python -m freshlens`` is the ``freshlens`` command."""

from freshlens.cli import main

main()
