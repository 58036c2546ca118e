"""What became of the transport of a request."""

from socket import socket

from aiohttp import web


class Transport:
    """The transport of a request, also after aiohttp has forgotten it."""

    __slots__ = ("_request", "_socket", "loss_cancels")

    def __init__(self, request: web.BaseRequest) -> None:
        self._request = request
        transport = request.transport
        # By one argument: the transport of aiohttp's mocked requests takes no more.
        self._socket: socket | None = (
            None if transport is None else transport.get_extra_info("socket")
        )
        server = getattr(request.protocol, "_manager", None)
        self.loss_cancels: bool = getattr(server, "handler_cancellation", True)
        """Whether aiohttp cancels the handler of a lost peer; if not, it is the server's own doing.

        aiohttp has no public way to ask; where the private one is gone, the transport decides.
        """

    @property
    def alive(self) -> bool:
        """Whether the socket is open.

        A shutdown of the server sets the request's transport to None just as a lost peer does, but
        closes the socket later. A transport that was gone from the start has shown no socket.
        """
        return self._socket is not None and self._socket.fileno() != -1

    @property
    def writable(self) -> bool:
        """Whether a frame that is sent now would be written."""
        transport = self._request.transport
        return transport is not None and not transport.is_closing()
