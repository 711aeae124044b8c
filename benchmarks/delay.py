"""A round trip where there is none: what passes is held back for half of it each way, a connection for one of its own.

python -m benchmarks.delay PORT LEADS_TO SECONDS
"""

import asyncio
import contextlib
import sys


async def main(port: int, leads_to: int, seconds: float) -> None:
    async def connect(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await asyncio.sleep(seconds)  # the handshake
        there_reader, there_writer = await asyncio.open_connection("127.0.0.1", leads_to)
        await asyncio.gather(
            carry(reader, there_writer, seconds / 2), carry(there_reader, writer, seconds / 2), return_exceptions=True
        )
        writer.close()
        there_writer.close()

    server = await asyncio.start_server(connect, "127.0.0.1", port, backlog=256)
    await server.serve_forever()


async def carry(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, delay: float) -> None:
    """Each piece arrives `delay` seconds after it was sent; their order and spacing stay."""
    loop = asyncio.get_running_loop()
    on_their_way: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue()

    async def deliver() -> None:
        while True:
            due, piece = await on_their_way.get()
            await asyncio.sleep(max(due - loop.time(), 0.0))
            if not piece:
                with contextlib.suppress(OSError):
                    writer.write_eof()
                return
            writer.write(piece)
            await writer.drain()

    delivering = asyncio.ensure_future(deliver())
    with contextlib.suppress(OSError):
        while piece := await reader.read(1 << 16):
            on_their_way.put_nowait((loop.time() + delay, piece))
    on_their_way.put_nowait((loop.time() + delay, b""))
    await asyncio.wait([delivering])


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3])))
