"""Tabs of the app without a browser: a document to build them in, and waiting for what they show."""

import asyncio
import time

from bokeh.document import Document
from panel.io.state import set_curdoc


def in_a_document(action):
    """Run a coroutine function where tabs can be built; what is due at the next tick of the page runs at once."""

    async def run():
        document = Document()
        document.add_next_tick_callback = asyncio.get_running_loop().call_soon
        with set_curdoc(document):
            await action()

    asyncio.run(run())


async def until(condition, seconds=60):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "nothing was shown in time"
        await asyncio.sleep(0.02)
