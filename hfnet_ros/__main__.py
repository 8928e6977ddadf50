"""Run the command line as `python -m hfnet_ros`."""

import sys

from hfnet_ros.cli.main import main

sys.exit(main())
