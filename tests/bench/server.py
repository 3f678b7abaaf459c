"""Run on the login node: an HTTP server that costs next to nothing. Arguments: a port, a socket, a file for /file."""

import os
import socket
import sys
import threading


def serve(listener: socket.socket, path: str) -> None:
    while True:
        connection, _ = listener.accept()
        threading.Thread(target=answer, args=(connection, path), daemon=True).start()


def answer(connection: socket.socket, path: str) -> None:
    with connection:
        whole = b"/file " in connection.recv(65536)
        size = os.path.getsize(path) if whole else 2
        connection.sendall(f"HTTP/1.1 200 OK\r\nContent-Length: {size}\r\nConnection: close\r\n\r\n".encode())
        if whole:
            with open(path, "rb") as file:
                connection.sendfile(file)
        else:
            connection.sendall(b"ok")


tcp = socket.create_server(("127.0.0.1", int(sys.argv[1])))
unix = socket.socket(socket.AF_UNIX)
unix.bind(sys.argv[2])
unix.listen(128)
threading.Thread(target=serve, args=(tcp, sys.argv[3]), daemon=True).start()
serve(unix, sys.argv[3])
