"""A real S3 server on this machine (moto's), for the studies and tests that take one."""

import contextlib
import logging
import threading
from collections.abc import Callable, Iterator

USER = {"AWS_ACCESS_KEY_ID": "somebody", "AWS_SECRET_ACCESS_KEY": "secret", "AWS_DEFAULT_REGION": "us-east-1"}


@contextlib.contextmanager
def server(*buckets: str, around: Callable = lambda application: application) -> Iterator[dict[str, str]]:
    """Serve these buckets, empty at first. Gives the environment of whoever reads them: AWS' own variables.

    `around` makes another WSGI application of the server's, such as one that fails at times.
    """
    from moto.server import DomainDispatcherApplication, create_backend_app
    from werkzeug.serving import make_server

    logging.getLogger("werkzeug").setLevel(logging.ERROR)  # else it prints a line a request
    serving = make_server("127.0.0.1", 0, around(DomainDispatcherApplication(create_backend_app)), threaded=True)
    threading.Thread(target=serving.serve_forever, daemon=True).start()
    environment = USER | {
        "AWS_ENDPOINT_URL": f"http://127.0.0.1:{serving.server_port}",
        "NO_PROXY": "127.0.0.1",
        "no_proxy": "127.0.0.1",
    }
    try:
        for bucket in buckets:
            client(environment).create_bucket(Bucket=bucket)
        yield environment
    finally:
        serving.shutdown()


def client(environment: dict[str, str]):
    """boto3's client of such a server, whatever this process' own environment is."""
    import boto3

    keys = {"aws_access_key_id": USER["AWS_ACCESS_KEY_ID"], "aws_secret_access_key": USER["AWS_SECRET_ACCESS_KEY"]}
    return boto3.client("s3", endpoint_url=environment["AWS_ENDPOINT_URL"], region_name=USER["AWS_DEFAULT_REGION"], **keys)
