"""`python -m lab.dep`: the enrollment service alone, with devices assigned to one MDM server.

Writes its address and the words of the server token as one line of JSON; runs until it is ended."""

from __future__ import annotations

import argparse
import asyncio
import json

from lab.dep import DepStandIn, Portal, tokens


async def _run(count: int, maximum: int, port: int) -> None:
    portal = Portal()
    server = portal.add_server("Alone")
    server.maximum = maximum
    server.token = tokens.issue(portal.clock.now())
    if count:
        portal.assign(portal.buy(count), server.name)
    stand_in = DepStandIn(portal)
    found = await stand_in.start(port)
    said = {"url": f"http://127.0.0.1:{found}", "token": server.token.json(), "uuid": server.uuid}
    print(json.dumps(said), flush=True)
    await asyncio.Event().wait()


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m lab.dep", description=__doc__)
    parser.add_argument("--devices", type=int, default=200, metavar="N")
    parser.add_argument("--maximum", type=int, default=1_000, help="devices a page may have")
    parser.add_argument("--port", type=int, default=0)
    options = parser.parse_args()
    asyncio.run(_run(options.devices, options.maximum, options.port))


if __name__ == "__main__":
    main()
