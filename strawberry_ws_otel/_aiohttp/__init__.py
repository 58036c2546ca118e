"""The edge of aiohttp: the mixin of a view, and what its WebSockets receive, send and close."""
