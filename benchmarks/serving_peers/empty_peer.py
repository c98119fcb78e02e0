"""An ASGI application that reads nothing and answers the same bytes: the least a server on uvicorn can do."""

# mypy: ignore-errors

import os

import uvicorn

BODY = (
    b'{"model_name":"dense","model_version":"1","id":"00000000-1","outputs":[{"name":"output_0",'
    b'"datatype":"FP32","shape":[1,8],"data":[0.1,0.2,0.3,0.4,0.5,0.6,0.7,0.8]}]}'
)
START = {
    "type": "http.response.start",
    "status": 200,
    "headers": [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(BODY))],
}
END = {"type": "http.response.body", "body": BODY}


async def application(scope, receive, send):  # noqa: ARG001  # ASGI's signature
    await send(START)
    await send(END)


if __name__ == "__main__":
    uvicorn.run(
        application, host="127.0.0.1", port=int(os.environ["BENCH_PORT"]), log_config=None, access_log=False,
        server_header=False, date_header=False, lifespan="off", ws="none",
    )  # fmt: skip
