"""`python -m deploy`: see deploy.package.command."""

import sys

from deploy.package.command import main

sys.exit(main())
