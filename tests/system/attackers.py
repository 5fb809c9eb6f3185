"""Slow and rude clients, as many as one likes: a program of its own, so that they share no time
with the honest one.  attackers.py SERVER COUNT: prints "ready" when all have begun; ends with its
standard input.  Each that is turned away or ended comes again at once, at most ten times a second.
"""
import asyncio
import random
import sys

STARTTLS_PORT, TLS_PORT = 2525, 2465
HALF_HELLO = bytes.fromhex("16030100c8010000c40303") + bytes(20)


async def one_octet_a_second(reader, writer):
    """A command line that never ends."""
    for octet in b"EHLO " + b"x" * 200:
        writer.write(bytes([octet]))
        await writer.drain()
        await asyncio.sleep(1)


async def half_handshake(reader, writer):
    """The beginning of a ClientHello, and then nothing."""
    writer.write(HALF_HELLO)
    await writer.drain()
    await asyncio.sleep(60)


async def never_reads(reader, writer):
    """Questions without end, and no ear for the answers."""
    writer.transport.pause_reading()
    while True:
        writer.write(b"EHLO deaf.example\r\n" + b"NOOP\r\n" * 20)
        await asyncio.wait_for(writer.drain(), 60)
        await asyncio.sleep(0.05)


async def bad_commands(reader, writer):
    """Five hundred of them."""
    for number in range(500):
        writer.write(b"BAD%d COMMAND\r\n" % number)
        if not await reader.readline():
            return
    await writer.drain()


KINDS = ((one_octet_a_second, STARTTLS_PORT), (half_handshake, TLS_PORT), (never_reads, STARTTLS_PORT),
         (bad_commands, STARTTLS_PORT))


async def attack(server, number, begun):
    kind, port = KINDS[number % len(KINDS)]
    source = f"127.3.{number // 200}.{number % 200 + 1}"
    while True:
        try:
            reader, writer = await asyncio.open_connection(server, port, local_addr=(source, 0))
            begun.add(number)
            try:
                await kind(reader, writer)
            finally:
                writer.transport.abort()
        except (OSError, asyncio.TimeoutError):
            pass
        await asyncio.sleep(0.1 + random.random() / 10)


async def main(server, count):
    begun = set()
    tasks = [asyncio.create_task(attack(server, number, begun)) for number in range(count)]
    while len(begun) < count:
        await asyncio.sleep(0.05)
    await asyncio.sleep(1)
    print("ready", flush=True)
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)
    for task in tasks:
        task.cancel()


if __name__ == "__main__":
    try:
        asyncio.run(main(sys.argv[1], int(sys.argv[2])))
    except KeyboardInterrupt:
        pass
