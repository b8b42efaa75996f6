"""WEIGHTS=tf2cv against a server on this machine that serves a file in the layout of tf2cv's releases."""

from __future__ import annotations

import hashlib
import io
import threading
import zipfile
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import pytest
from tf2cv.models import model_store

from helpers import classifiers
from helpers.backend import keras
from helpers.datasets import patches10
from helpers.settings import CourseError

NAME = "resnet20_cifar10"


def zipped(name: str, content: bytes) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr(name, content)
    return buffer.getvalue()


class Server(ThreadingHTTPServer):
    """Answer GET with ``answers`` in turn, repeating the last: (bytes, number of them sent), or a status."""

    def __init__(self, path: str):
        self.path, self.answers, self.asked = path, [], 0
        super().__init__(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.serve_forever, daemon=True).start()


class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        answer = self.server.answers[min(self.server.asked, len(self.server.answers) - 1)]
        self.server.asked += 1
        if self.path != self.server.path or isinstance(answer, int):
            self.send_error(answer if isinstance(answer, int) else 404)
            return
        content, sent = answer
        self.send_response(200)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content[:sent])  # fewer than announced: the connection breaks

    def log_message(self, *_):
        pass


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    """A weight file as tf2cv writes it, from tf2cv's own network, and that network's arrays."""
    from tf2cv.model_provider import get_model

    keras.utils.set_random_seed(7)
    network = get_model(NAME)
    network(np.zeros((1, 32, 32, 3), np.float32))
    file = tmp_path_factory.mktemp("tf2cv") / "weights.h5"
    network.save_weights(str(file))
    return file.read_bytes(), network.get_weights()


@pytest.fixture(scope="module")
def data():
    return replace(patches10.load(), name="cifar10")


@pytest.fixture
def server(weights, tmp_path, monkeypatch):
    content, _ = weights
    sha1 = hashlib.sha1(content).hexdigest()
    _, _, release = model_store.get_model_name_suffix_data(NAME)
    name = f"{NAME}-0597-{sha1[:8]}.tf2.h5"
    server = Server(f"/releases/download/{release}/{name}.zip")
    server.archive = zipped(name, content)
    server.wrong = zipped(name, content[:-1] + b"?")
    monkeypatch.setattr(model_store, "imgclsmob_repo_url", f"http://127.0.0.1:{server.server_port}")
    monkeypatch.setattr(model_store, "get_model_name_suffix_data", lambda _: ("0597", sha1, release))
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    yield server
    server.shutdown()
    server.server_close()


def loads(data, weights):
    loaded = classifiers.network_of(classifiers.load("resnet20", data, "tf2cv")).get_weights()
    return all(np.array_equal(a, b) for a, b in zip(loaded, weights[1], strict=True))


@pytest.mark.deep
def test_the_file_is_downloaded_once(server, data, weights):
    server.answers = [(server.archive, None)]
    assert loads(data, weights) and loads(data, weights)
    assert server.asked == 1


@pytest.mark.deep
def test_a_file_with_another_checksum_is_refused_and_fetched_anew(server, data, weights):
    server.answers = [(server.wrong, None)]
    with pytest.raises(
        CourseError, match="checksum is not the published one.*try again, or choose WEIGHTS=course"
    ):
        classifiers.load("resnet20", data, "tf2cv")
    server.answers = [(server.archive, None)]
    assert loads(data, weights), "the wrong file is not kept"


@pytest.mark.deep
def test_an_interrupted_download_is_tried_again(server, data, weights):
    half = len(server.archive) // 2
    server.answers = [(server.archive, half), 503, (server.archive, None)]
    assert loads(data, weights)
    assert server.asked == 3


@pytest.mark.deep
def test_a_download_that_never_ends_well_is_an_error_and_leaves_nothing_half(server, data, weights):
    server.answers = [(server.archive, len(server.archive) // 2)]
    with pytest.raises(CourseError, match="could not be downloaded .*; connect to the network, or choose"):
        classifiers.load("resnet20", data, "tf2cv")
    server.answers = [(server.archive, None)]
    assert loads(data, weights)


@pytest.mark.deep
def test_a_release_that_is_gone_is_an_error(server, data):
    server.answers = [404]
    with pytest.raises(CourseError, match="could not be downloaded .RuntimeError.*WEIGHTS=course"):
        classifiers.load("resnet20", data, "tf2cv")
