"""A mail server on a real socket, which says what its test wants."""

from __future__ import annotations

import socketserver
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field


@dataclass
class Post:
    """Where it listens, what it answers to each verb beside 250, and the mails that it took."""

    port: int = 0
    says: dict[str, str] = field(default_factory=dict)
    mails: list[str] = field(default_factory=list)


@contextmanager
def post(**says: str) -> Iterator[Post]:
    office = Post(says=says)

    class Handler(socketserver.StreamRequestHandler):
        def handle(self) -> None:
            self.say("220 post.example.com")
            while line := self.rfile.readline().decode().strip():
                verb = line.split()[0].upper()
                answer = office.says.get(verb)
                if verb == "DATA" and answer is None:
                    self.say("354 go on")
                    office.mails.append(self.mail())
                    answer = office.says.get("END", "250 2.0.0 queued as 4711")
                self.say(answer or "250 fine")
                if verb == "QUIT":
                    return

        def mail(self) -> str:
            lines = []
            while (line := self.rfile.readline()) != b".\r\n":
                lines.append(line.decode())
            return "".join(lines)

        def say(self, words: str) -> None:
            self.wfile.write(f"{words}\r\n".encode())

    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Handler) as server:
        server.daemon_threads = True
        office.port = server.server_address[1]
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        try:
            yield office
        finally:
            server.shutdown()
            thread.join()
