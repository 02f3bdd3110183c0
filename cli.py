"""The platform's command line: `python cli.py --help`. Needs nothing but Python; the rest it fetches itself."""

import sys

from deploy.bootstrap import main

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
