"""Command line of the platform: `python cli.py --help`. Requires only Python and downloads everything else."""

import sys

from deploy.bootstrap import main

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
