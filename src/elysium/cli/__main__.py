"""`python -m elysium.cli`."""

from elysium.cli import main

main()
