"""From beside a cluster: what a port answers to somebody without credentials, as JSON.

knocking.py '[["head", 8265, "/api/version"], ["head", 6379, "/ray.rpc.Service/Method"]]' [SECONDS]
"""

import json
import re
import socket
import struct
import sys
import urllib.error
import urllib.request

WAIT_S = float(sys.argv[2]) if len(sys.argv) > 2 else 30.0


def http(host: str, port: int, path: str) -> str:
    """The status."""
    try:
        with urllib.request.urlopen(f"http://{host}:{port}{path}", timeout=WAIT_S) as answer:
            return str(answer.status)
    except urllib.error.HTTPError as error:
        return str(error.code)


def grpc_status(host: str, port: int, method: str) -> str:
    """The name of the status; OK when it did what was asked."""
    import grpc

    with grpc.insecure_channel(f"{host}:{port}") as channel:
        try:
            channel.unary_unary(method)(b"", timeout=WAIT_S)
        except grpc.RpcError as error:
            return str(error.code().name)
    return "OK"


def postgres(host: str, port: int, user: str) -> str:
    """What PostgreSQL wants of a user: `scram-sha-256`, or the number of another way."""
    said = f"user\0{user}\0database\0{user}\0\0".encode()
    with socket.create_connection((host, port), timeout=WAIT_S) as link:
        link.sendall(struct.pack("!ii", len(said) + 8, 196608) + said)
        answer = link.recv(4096)
    if answer[:1] != b"R":
        return answer[:1].decode()
    (way,) = struct.unpack("!i", answer[5:9])
    return "scram-sha-256" if way == 10 else str(way)


def knock(host: str, port: int, what: str) -> str:
    """One answer, or why there is none."""
    try:
        if what.startswith("user "):
            return postgres(host, port, what.split()[1])
        if re.match(r"/[\w.]+\.\w+/\w+$", what):
            return grpc_status(host, port, what)
        return http(host, port, what)
    except OSError as error:
        return f"nobody: {error}"


if __name__ == "__main__":
    print(json.dumps([knock(*one) for one in json.loads(sys.argv[1])]))
