"""Started by ``label-studio-ml start examples/label-studio-ml``, or by gunicorn as ``_wsgi:app``, with one worker and
without ``--preload``: the weights are loaded here, once per process, and don't survive a fork.

Settings come from the environment, as for ``xsam-backend serve``; host and port from the command line.
"""

from __future__ import annotations

import argparse
import os

from label_studio_ml.api import init_app
from model import XSam

from xsam_backend.server.label_studio_ml import prepare
from xsam_backend.server.serving import configure_logging

configure_logging(os.environ.get("LOG_LEVEL") or "INFO")

if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="X-SAM under label-studio-ml")
    parser.add_argument("-p", "--port", type=int, default=9090, help="port to listen on")
    parser.add_argument("--host", default="0.0.0.0", help="address to listen on")
    parser.add_argument("--basic-auth-user", help="user name that Label Studio must send")
    parser.add_argument("--basic-auth-pass", default=os.environ.get("BASIC_AUTH_PASS"), help="its password")
    given = parser.parse_args()
    app = prepare(init_app(XSam, basic_auth_user=given.basic_auth_user, basic_auth_pass=given.basic_auth_pass))
    app.run(host=given.host, port=given.port)
else:
    app = prepare(init_app(XSam))
