"""Which function each attacker differentiates, and which networks a run takes for it."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
from support import small_systems

from helpers import classifiers, pipeline, settings
from helpers.settings import Networks
from helpers.studies import gradient_flow
from helpers.studies.loss_landscape import gradient_at


@pytest.fixture(scope="module")
def systems():
    with small_systems() as found:
        yield found


def test_each_attacker_differentiates_what_it_knows(systems, cnn, images, monkeypatch):
    fine_tuned, behind = systems.models["none"], systems.models["ae"]
    blur = behind.layers[1]
    run = SimpleNamespace(data=SimpleNamespace(classes=systems.classes), classifier=cnn)
    monkeypatch.setattr(pipeline, "autoencoder", lambda _: (blur, []))
    monkeypatch.setattr(pipeline, "fine_tuned", lambda _: (fine_tuned, []))
    found = gradient_flow.flow(run, images[0], 3)
    assert list(found.gradients) == list(gradient_flow.ATTACKERS)
    for key, model in (("adaptive", behind), ("grey_box", fine_tuned), ("static", cnn)):
        np.testing.assert_allclose(found.gradients[key], gradient_at(model, images[0], 3), atol=1e-6)
    np.testing.assert_allclose(found.reconstructed, blur(images[:1])[0], atol=1e-6)
    np.testing.assert_allclose(found.logits, behind(images[:1])[0], atol=1e-4)


def test_a_run_takes_networks_that_were_shipped_for_its_classifier_only(monkeypatch):
    run = pipeline.start("patches10", profile="smoke")
    assert gradient_flow.shipped_networks(run).networks is Networks.SHIPPED
    monkeypatch.setattr(classifiers, "weights_sha256", lambda _: "another")
    assert gradient_flow.shipped_networks(run) is run
    monkeypatch.undo()
    monkeypatch.setattr(settings, "WEIGHTS", settings.ROOT / "nowhere")
    nowhere = replace(run, model="sepreresnet56")
    assert gradient_flow.shipped_networks(nowhere) is nowhere
