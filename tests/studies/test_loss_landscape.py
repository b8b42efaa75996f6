"""The loss around an image, and the way of an attack through it."""

import numpy as np
import pytest

from helpers import attacks
from helpers.backend import tf
from helpers.studies import loss_landscape as landscape
from helpers.studies import toy_regions

EPS = 8 / 255


def cross_entropy(model, image, label):
    logits = np.asarray(model(image[None], training=False), np.float64)[0]
    return np.log(np.exp(logits - logits.max()).sum()) + logits.max() - logits[label]


@pytest.fixture(scope="module")
def image(images):
    return images[3]


def test_a_loss_is_the_cross_entropy(cnn, images):
    found = landscape.losses_of(cnn, images, 4)
    np.testing.assert_allclose(found, [cross_entropy(cnn, x, 4) for x in images], rtol=1e-4)


def test_pgds_way_begins_at_the_image_stays_in_the_box_and_ends_at_the_attack(cnn, image):
    path = landscape.pgd_path(cnn, image, 3, EPS, step_size=0.01, steps=4, seed=5)
    assert len(path.images) == 6
    np.testing.assert_array_equal(path.images[0], image)
    assert np.abs(path.images - image).max() <= EPS + 1e-6
    assert path.images.min() >= 0 and path.images.max() <= 1
    (end,) = attacks.pgd(cnn, image[None], np.array([3]), EPS, step_size=0.01, steps=4, seed=5)
    np.testing.assert_array_equal(path.images[-1], end)
    np.testing.assert_allclose(path.losses, [cross_entropy(cnn, x, 3) for x in path.images], rtol=1e-4)


def test_each_point_of_pgds_way_is_a_step_from_the_one_before(cnn, image):
    path = landscape.pgd_path(cnn, image, 3, EPS, step_size=0.01, steps=3, random_start=False)
    assert len(path.images) == 4
    gradient = landscape.gradient_at(cnn, path.images[1], 3)
    moved = np.clip(path.images[1] + np.float32(0.01) * np.sign(gradient), image - EPS, image + EPS)
    np.testing.assert_allclose(path.images[2], np.clip(moved, 0, 1), atol=1e-6)


def test_fgsms_way_has_two_ends(cnn, image):
    path = landscape.fgsm_path(cnn, image, 3, EPS)
    np.testing.assert_array_equal(path.images[1], attacks.fgsm(cnn, image[None], np.array([3]), EPS)[0])
    assert path.losses[1] > path.losses[0]


def test_the_lines_begin_at_the_image_and_pass_fgsm_at_eps(cnn, image):
    found = landscape.lines(cnn, image, 3, EPS, count=3, points=5)
    assert found.random.shape == (3, 5) and found.levels[found.at_eps] == pytest.approx(EPS)
    assert found.levels[-1] == pytest.approx(2 * EPS)
    np.testing.assert_allclose(
        [found.gradient[0], *found.random[:, 0]], cross_entropy(cnn, image, 3), rtol=1e-4
    )
    fgsm = landscape.fgsm_path(cnn, image, 3, EPS)
    assert found.gradient[found.at_eps] == pytest.approx(fgsm.losses[1], rel=1e-4)
    signs = landscape.random_directions(image, 3)
    moved = np.clip(image + np.float32(EPS) * signs[1], 0, 1)
    assert found.random[1, found.at_eps] == pytest.approx(cross_entropy(cnn, moved, 3), rel=1e-4)


def test_the_plane_is_that_of_the_gradients_sign_and_random_signs(cnn, image):
    fgsm = landscape.fgsm_path(cnn, image, 3, EPS)
    found = landscape.surface(cnn, image, 3, EPS, {"FGSM": fgsm}, points=7)
    first = np.sign(landscape.gradient_at(cnn, image, 3))
    (second,) = landscape.random_directions(image, 1)
    moved = np.clip(image + found.levels[5] * first + found.levels[1] * second, 0, 1)
    assert found.losses[1, 5] == pytest.approx(cross_entropy(cnn, moved, 3), rel=1e-4)
    assert found.losses[3, 3] == pytest.approx(cross_entropy(cnn, image, 3), rel=1e-4)


def test_the_box_cuts_the_plane_in_a_diamond(cnn, image):
    """Where both directions move a value the same way their sizes add up, so |a| + |b| is the reach."""
    found = landscape.surface(cnn, image, 3, EPS, {}, points=7)
    np.testing.assert_allclose(found.reach, np.add.outer(*2 * (np.abs(found.levels),)), atol=1e-6)


def test_the_shadow_of_a_point_of_the_plane_is_that_point(cnn, image):
    image = np.full_like(image, 0.5)  # so that nothing is clipped
    first = np.sign(landscape.gradient_at(cnn, image, 3))
    (second,) = landscape.random_directions(image, 1)
    inside = np.stack([image, image + np.float32(0.02) * first - np.float32(0.01) * second])
    path = landscape.Path(inside, np.zeros(2))
    shadow = landscape.surface(cnn, image, 3, EPS, {"PGD": path}, points=3).shadows["PGD"]
    np.testing.assert_allclose(shadow, [[0, 0], [0.02, -0.01]], atol=1e-6)


def test_a_plane_towards_a_path_holds_the_ends_of_both_attacks(cnn, image):
    image = 0.25 + image / 2  # so that nothing is clipped
    fgsm = landscape.fgsm_path(cnn, image, 3, EPS)
    pgd = landscape.pgd_path(cnn, image, 3, EPS, step_size=0.01, random_start=False)
    found = landscape.surface(cnn, image, 3, EPS, {"FGSM": fgsm, "PGD": pgd}, points=3, towards="PGD")
    first = np.sign(landscape.gradient_at(cnn, image, 3))
    second = landscape._beyond(pgd.images[-1] - image, first)
    assert np.abs(second).max() == pytest.approx(1) and abs(np.vdot(first, second)) < 1e-2
    for name, path in found.paths.items():
        along, across = found.shadows[name][-1]
        np.testing.assert_allclose(image + along * first + across * second, path.images[-1], atol=1e-5)
    assert "PGD" in found.across and f"PGD ends at {pgd.losses[-1]:.2g}" in found.finding


def test_the_toys_classifier_has_learnt_its_points():
    points, labels = toy_regions.data()
    logits = toy_regions.classifier()(toy_regions.as_images(points)).numpy()
    assert (logits.argmax(1) == labels).mean() > 0.97


def test_in_the_toy_one_step_is_too_few():
    """FGSM's point is still classified correctly, PGD's is not, and neither leaves the box."""
    regions, model = toy_regions.regions(), toy_regions.classifier()
    answers = {k: int(tf.argmax(model(p.images[-1:])[0])) for k, p in regions.paths.items()}
    assert answers == {"FGSM": regions.label, "PGD": 1 - regions.label}
    for path in regions.paths.values():
        assert np.abs(path.images.reshape(-1, 2) - regions.point).max() <= regions.eps + 1e-6


def test_the_drawn_probabilities_are_the_classifiers():
    regions = toy_regions.regions(side=11)
    logits = toy_regions.classifier()(toy_regions.as_images([[0.2, 0.7]])).numpy()[0]
    expected = 1 / (1 + np.exp(logits[0] - logits[1]))
    assert regions.probability[7, 2] == pytest.approx(expected, rel=1e-4)


def test_the_toys_gradient_points_uphill():
    regions, model = toy_regions.regions(), toy_regions.classifier()
    small = 1e-3 * regions.gradient / np.linalg.norm(regions.gradient)
    there, here = toy_regions.as_images([regions.point + small, regions.point])
    rise = cross_entropy(model, there, regions.label) - cross_entropy(model, here, regions.label)
    assert rise == pytest.approx(1e-3 * np.linalg.norm(regions.gradient), rel=0.05)
