"""Our attacks give the images of ART and CleverHans, on the same model, without a random start.

TensorFlow may round differently in different graphs. The sign of a tiny gradient then flips, and PGD takes
another path. So the attacks are compared exactly in eager mode, where equal arithmetic gives equal results.
The graph that the course uses must give the same images except for a few (linf), or within a fraction of
eps (l2).
"""

from __future__ import annotations

import numpy as np
import pytest
from art.attacks.evasion import FastGradientMethod, ProjectedGradientDescentTensorFlowV2
from art.estimators.classification import TensorFlowV2Classifier
from cleverhans.tf2.attacks.fast_gradient_method import fast_gradient_method
from cleverhans.tf2.attacks.projected_gradient_descent import projected_gradient_descent
from support import eagerly

from helpers import attacks
from helpers.backend import tf
from helpers.classifiers.registry import MODELS

EPS, STEP = {"linf": 8 / 255, "l2": 0.5}, {"linf": 0.01, "l2": 0.1}
ORDER = {"linf": np.inf, "l2": 2}
N = 8
SHALLOW = ("cnn", "resnet20")


def art_classifier(model):
    loss = tf.keras.losses.SparseCategoricalCrossentropy(from_logits=True, reduction="sum")
    return TensorFlowV2Classifier(model, 10, (32, 32, 3), loss_object=loss, clip_values=(0, 1))


def art_fgsm(model, images, labels, targeted, norm):
    attack = FastGradientMethod(
        art_classifier(model), norm=ORDER[norm], eps=EPS[norm], targeted=targeted, batch_size=N
    )
    return attack.generate(images, labels)


def art_pgd(model, images, labels, targeted, norm, steps):
    attack = ProjectedGradientDescentTensorFlowV2(
        art_classifier(model),
        norm=ORDER[norm],
        eps=EPS[norm],
        eps_step=STEP[norm],
        max_iter=steps,
        targeted=targeted,
        num_random_init=0,
        batch_size=N,
        verbose=False,
    )
    return attack.generate(images, labels)


def cleverhans_fgsm(model, images, labels, targeted, norm):
    return fast_gradient_method(
        lambda x: model(x, training=False),
        images,
        EPS[norm],
        ORDER[norm],
        clip_min=0.0,
        clip_max=1.0,
        y=labels,
        targeted=targeted,
    ).numpy()


def cleverhans_pgd(model, images, labels, targeted, norm, steps):
    return projected_gradient_descent(
        lambda x: model(x, training=False),
        tf.constant(images),
        EPS[norm],
        STEP[norm],
        steps,
        ORDER[norm],
        clip_min=0.0,
        clip_max=1.0,
        y=labels,
        targeted=targeted,
    ).numpy()


def our_fgsm(model, images, labels, targeted, norm):
    return attacks.fgsm(model, images, labels, EPS[norm], norm=norm, targeted=targeted)


def our_pgd(model, images, labels, targeted, norm, steps):
    return attacks.pgd(
        model,
        images,
        labels,
        EPS[norm],
        step_size=STEP[norm],
        steps=steps,
        random_start=False,
        norm=norm,
        targeted=targeted,
    )


def assert_alike(ours, theirs, norm, strays):
    """Allow for rounding that ten steps magnify.

    In linf a flipped sign sends an image elsewhere, so all images but ``strays`` agree within 1e-6. In l2
    an error grows slowly, so images differ by at most a fiftieth of eps, and most by far less.
    """
    if norm == "linf":
        assert (np.abs(ours - theirs).reshape(len(ours), -1).max(1) > 1e-6).sum() <= strays
    else:
        apart = np.linalg.norm((ours - theirs).reshape(len(ours), -1), axis=1) / EPS["l2"]
        assert apart.max() < 0.02 and np.median(apart) < 0.001


def cases():
    """Every network in both norms, and two with targets, with ten steps of PGD.

    make test leaves out the targets and the deeper networks in l2. In linf they take three steps.
    """
    for network, targeted in [
        *((name, False) for name in ("cnn", *MODELS)),
        ("cnn", True),
        ("resnet20", True),
    ]:
        for norm in attacks.NORMS:
            title = f"{network}-{'targeted' if targeted else 'untargeted'}-{norm}"
            often = network in SHALLOW and not targeted
            tier = pytest.mark.deep if often else pytest.mark.slow
            yield pytest.param(network, targeted, norm, 10, id=title, marks=tier)
            if network not in SHALLOW and norm == "linf":
                yield pytest.param(network, targeted, norm, 3, id=f"{title}-short", marks=pytest.mark.deep)


@pytest.mark.parametrize(("network", "targeted", "norm", "steps"), cases())
def test_our_attacks_are_theirs(request, images, labels, network, norm, targeted, steps):
    model = request.getfixturevalue(network)
    labels = ((labels + targeted) % 10)[:N]
    case = model, images[:N], labels, targeted, norm
    strays = 2 if network in SHALLOW else 4  # deeper networks round more often
    with eagerly():
        fgsm, pgd = our_fgsm(*case), our_pgd(*case, steps)
        np.testing.assert_array_equal(fgsm, cleverhans_fgsm(*case))
        np.testing.assert_allclose(pgd, cleverhans_pgd(*case, steps), rtol=0, atol=1e-6)
        arts_fgsm, arts_pgd = art_fgsm(*case), art_pgd(*case, steps)
    if norm == "linf":
        np.testing.assert_array_equal(fgsm, arts_fgsm)
        np.testing.assert_allclose(pgd, arts_pgd, rtol=0, atol=1e-6)
    else:  # ART normalises the gradient in another order, and rounds differently
        np.testing.assert_allclose(fgsm, arts_fgsm, rtol=0, atol=1e-6)
        assert_alike(pgd, arts_pgd, norm, strays)
    assert (pgd != fgsm).mean() > 0.1  # PGD did more than one step
    assert_alike(our_fgsm(*case), fgsm, norm, strays)
    assert_alike(our_pgd(*case, steps), pgd, norm, strays)
    assert_alike(our_pgd(*case, steps), cleverhans_pgd(*case, steps), norm, strays)  # their graph
