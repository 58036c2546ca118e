"""An exception leaves the view, before the upgrade or after it; or the handshake is refused."""

from aiohttp import web
from cross_web import HTTPException

from tests.support.scenarios.model import Scenario, by_server, refused, without_frames
from tests.support.scenarios.steps import INIT, LEGACY, TRANSPORT, handshake, steps
from tests.support.schema import AppError
from tests.support.server import Setup, raises

APP_ERROR = f"{AppError.__module__}.{AppError.__qualname__}"
HTTP_EXCEPTION = f"{HTTPException.__module__}.{HTTPException.__qualname__}"
AIOHTTP = "aiohttp.web_exceptions."
LOGIN = steps(handshake, INIT)

EXCEPTIONS = (
    Scenario(
        name="a foreign origin",
        talk=handshake,
        verdict=refused("handshake_rejected", 403),
        headers={"Origin": "https://evil.example"},
        since=(0, 341),
        representative=True,
    ),
    *(
        Scenario(
            name=f"get_root_value raises {error.__name__}{arguments}",
            talk=handshake,
            verdict=refused(outcome, status, name, str(error(*arguments))),
            setup=Setup(root_value=raises(error, *arguments)),
            representative=error is AppError,
        )
        for error, arguments, outcome, status, name in (
            (AppError, (), "server_error", 500, APP_ERROR),
            (TimeoutError, (), "server_error", 504, "TimeoutError"),
            (HTTPException, (401, "Who?"), "handshake_rejected", 401, HTTP_EXCEPTION),
            (HTTPException, (503, "Later"), "server_error", 503, HTTP_EXCEPTION),
            (web.HTTPForbidden, (), "handshake_rejected", 403, AIOHTTP + "HTTPForbidden"),
            (web.HTTPFound, ("/login",), "other", 302, AIOHTTP + "HTTPFound"),
            (web.HTTPBadGateway, (), "server_error", 502, AIOHTTP + "HTTPBadGateway"),
        )
    ),
    Scenario(
        name="get_context raises",
        talk=handshake,
        verdict=without_frames("server_error", APP_ERROR),
        setup=Setup(context=raises(AppError)),
        representative=True,
    ),
    *(
        Scenario(
            name=f"on_ws_connect raises {error.__name__}{arguments}",
            talk=LOGIN,
            verdict=without_frames("server_error", name, str(error(*arguments))),
            setup=Setup(connect=raises(error, *arguments)),
            representative=error is AppError,
        )
        for error, arguments, name in (
            (AppError, (), APP_ERROR),
            (TimeoutError, (), "TimeoutError"),
            (HTTPException, (401, "Who?"), HTTP_EXCEPTION),
            (web.HTTPForbidden, (), AIOHTTP + "HTTPForbidden"),
        )
    ),
    Scenario(
        name="on_ws_connect raises KeyError, which the host takes for a malformed message",
        talk=LOGIN,
        verdict=by_server("invalid_message", 4400, "Failed to parse message", echo=4400),
        setup=Setup(connect=raises(KeyError, "token")),
        protocols=(TRANSPORT,),
    ),
    Scenario(
        name="legacy: on_ws_connect raises KeyError",
        talk=LOGIN,
        verdict=without_frames("server_error", "KeyError", "'token'"),
        setup=Setup(connect=raises(KeyError, "token")),
        protocols=(LEGACY,),
    ),
)
