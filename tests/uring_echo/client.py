"""client.py - talks to an echo server and looks at every byte that comes back.

usage: client.py PORT CONNECTIONS BYTES [late]
Opens so many connections at once; each sends so many bytes, of its own, in pieces of
any size, while it reads; late: it reads when the server takes no more. SEED in the
environment repeats a run. Exits with 1 when a byte is wrong, missing, or one too many.
"""
import os
import random
import selectors
import socket
import sys

PIECE_MOST = 40000
PATIENCE = 60
LATE = 0.3


class Talk:
    def __init__(self, port, number, nbytes, seed):
        self.random = random.Random(seed * 1000003 + number)
        self.message = self.random.randbytes(nbytes)
        self.sent = self.got = 0
        self.socket = socket.create_connection(("127.0.0.1", port), PATIENCE)
        self.socket.setblocking(False)

    def write(self):
        piece = self.message[self.sent:self.sent + self.random.randint(1, PIECE_MOST)]
        if piece:
            self.sent += self.socket.send(piece)
        if self.sent == len(self.message):
            self.socket.shutdown(socket.SHUT_WR)
        return self.sent < len(self.message)

    def read(self):
        piece = self.socket.recv(PIECE_MOST)
        if piece != self.message[self.got:self.got + len(piece)]:
            sys.exit(f"client: other bytes came back from {self.got} on")
        self.got += len(piece)
        if not piece and self.got < len(self.message):
            sys.exit(f"client: {self.got} of {len(self.message)} bytes came back")
        return bool(piece)


def main():
    port, connections, nbytes = map(int, sys.argv[1:4])
    late = sys.argv[4:] == ["late"]
    seed = int(os.environ.get("SEED", random.randrange(1 << 30)))
    print(f"client: seed {seed}")
    both = selectors.EVENT_READ | selectors.EVENT_WRITE
    first = selectors.EVENT_WRITE if late else both
    with selectors.DefaultSelector() as selector:
        for number in range(connections):
            talk = Talk(port, number, nbytes, seed)
            selector.register(talk.socket, first, talk)
        left = connections
        while left:
            events = selector.select(LATE if late else PATIENCE)
            if late and not events:
                late = False
                for key in list(selector.get_map().values()):
                    selector.modify(key.fileobj, key.events | selectors.EVENT_READ, key.data)
                continue
            if not events:
                sys.exit(f"client: nothing came for {PATIENCE} s, {left} connections wait")
            for key, mask in events:
                talk = key.data
                if mask & selectors.EVENT_WRITE and not talk.write():
                    selector.modify(talk.socket, selectors.EVENT_READ, talk)
                if mask & selectors.EVENT_READ and not talk.read():
                    selector.unregister(talk.socket)
                    talk.socket.close()
                    left -= 1


main()
