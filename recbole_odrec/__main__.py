"""`python -m recbole_odrec` is `recbole-odrec`."""

import sys

from recbole_odrec.cli import main

sys.exit(main())
