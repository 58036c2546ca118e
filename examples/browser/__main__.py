"""The quickstart with a page: `python -m examples.browser`, then open http://127.0.0.1:8000.

Install graphql-ws once: `npm ci --prefix examples/browser --ignore-scripts`. Then close the tab,
reload it or cut the network. The printed spans show how each connection ended.
"""

import os
import sys

from aiohttp import web

from examples.browser.page import MissingError, add_page
from examples.quickstart import create_app, set_up_telemetry


def main() -> int:
    """Serve until Ctrl-C."""
    app = create_app()
    try:
        add_page(app)
    except MissingError as error:
        print(error, file=sys.stderr)
        return 2
    set_up_telemetry()
    web.run_app(app, host="127.0.0.1", port=int(os.environ.get("PORT", "8000")))
    return 0


if __name__ == "__main__":
    sys.exit(main())
