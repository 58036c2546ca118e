"""The edge of Strawberry: the extension of a schema, and the layers over a view's own classes.

Nothing here knows the transport, or imports aiohttp.
"""
