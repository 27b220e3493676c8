"""A connection to a Whipsnake server, from the variables that `whipsnake` reads too.

WHIPSNAKE_SERVER: the address. WHIPSNAKE_TOKEN: the token, if the server wants one. WHIPSNAKE_TLS_CA:
a file with the certificates of authorities in PEM, if the server speaks TLS. Without TLS, use a
token only for a server on the same machine, because it is not encrypted.
"""

import os

import grpc


class TokenSender(
    grpc.UnaryUnaryClientInterceptor,
    grpc.UnaryStreamClientInterceptor,
    grpc.StreamUnaryClientInterceptor,
):
    """Adds the token to the metadata of every call."""

    def __init__(self, token):
        self.header = ("authorization", "Bearer " + token)

    def send(self, continuation, details, request):
        metadata = [*(details.metadata or []), self.header]
        return continuation(details._replace(metadata=metadata), request)

    intercept_unary_unary = intercept_unary_stream = intercept_stream_unary = send


def connect(address=None):
    """Returns a channel to the address, or to that of WHIPSNAKE_SERVER."""
    address = address or os.environ.get("WHIPSNAKE_SERVER", "127.0.0.1:8500")
    authorities = os.environ.get("WHIPSNAKE_TLS_CA")
    if authorities:
        with open(authorities, "rb") as file:
            channel = grpc.secure_channel(address, grpc.ssl_channel_credentials(file.read()))
    else:
        channel = grpc.insecure_channel(address)
    token = os.environ.get("WHIPSNAKE_TOKEN")
    return grpc.intercept_channel(channel, TokenSender(token)) if token else channel
