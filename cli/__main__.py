"""`python -m cli` is `spendgate`."""

import sys

from cli.main import main

sys.exit(main())
