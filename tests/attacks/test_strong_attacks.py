"""Auto-PGD, Square and the worst case over both: what must hold for any model, and how much ART's break."""

from __future__ import annotations

import numpy as np
import pytest
from art.attacks.evasion import AutoProjectedGradientDescent, SquareAttack
from art.estimators.classification import TensorFlowV2Classifier
from scipy import optimize
from support import eagerly
from test_gradient import BAD

from helpers import attacks
from helpers.attacks import auto_pgd, losses, square_attack
from helpers.attacks.attack_ensemble import EFFORTS, Effort, Result, ensemble, worst_case
from helpers.attacks.auto_pgd import apgd, apgd_targeted, checkpoints
from helpers.attacks.fast_adaptive_boundary import fab_targeted, step_to_plane
from helpers.attacks.square_attack import area_at, side_of, square
from helpers.attacks.square_l2 import bump, first_change, moved_change
from helpers.backend import tf
from helpers.settings import CourseError

EPS = 1 / 255


def apgd_l2(*case, **options):
    return apgd(*case, norm="l2", **options)


def square_l2(*case, **options):
    return square(*case, norm="l2", **options)


def fab_l2(*case, **options):
    return fab_targeted(*case, norm="l2", **options)


# Each with a budget that breaks some of the images below and leaves some standing.
ATTACKS = {
    "apgd": (apgd, EPS, {"steps": 8, "restarts": 2}),
    "apgd l2": (apgd_l2, 0.17, {"steps": 8, "restarts": 2}),
    "apgd targeted": (apgd_targeted, EPS, {"steps": 8, "classes": 2}),
    "fab targeted": (fab_targeted, EPS, {"steps": 8, "classes": 2}),
    "fab targeted l2": (fab_l2, 0.17, {"steps": 8, "classes": 2}),
    "square": (square, 32 / 255, {"queries": 20}),
    "square l2": (square_l2, 2.0, {"queries": 40}),
}


@pytest.fixture(scope="module")
def many():
    """Forty-eight images of uniform noise."""
    return np.random.default_rng(1).random((48, 32, 32, 3), np.float32)


@pytest.fixture(scope="module")
def truth(cnn, many):
    """The labels under which the network makes no mistake."""
    return answers(cnn, many)


def answers(model, images):
    return np.asarray(attacks.logits_of(model, tf.constant(images))).argmax(1)


def accuracy(model, attacked, labels):
    return (answers(model, attacked) == labels).mean()


def run(name, model, images, labels, eps=None, **options):
    attack, middle, usual = ATTACKS[name]
    return attack(model, images, labels, middle if eps is None else eps, **usual | options)


# ---------------------------------------------------------------------------------------- invariants


@pytest.mark.deep
@pytest.mark.parametrize("name", ATTACKS)
def test_numbers_may_be_text_and_whole_numbers_may_end_in_0(cnn, images, name):
    case, (_, _, options) = (cnn, images[:4], answers(cnn, images[:4])), ATTACKS[name]
    given = {option: float(value) for option, value in options.items()}
    expected = run(name, *case, 8 / 255)
    assert (expected != case[1]).any()
    np.testing.assert_array_equal(run(name, *case, "8/255", **given), expected)


@pytest.mark.parametrize("name", ATTACKS)
@pytest.mark.parametrize("eps", [EPS, 0.3, 1.0])
def test_attacked_images_stay_in_the_ball_and_in_range(cnn, images, name, eps):
    given, right = images.copy(), answers(cnn, images)
    weights = cnn.get_weights()
    attacked = run(name, cnn, given, right, eps)
    assert attacked.shape == images.shape and attacked.dtype == np.float32
    change = np.abs(attacked - images).reshape(len(images), -1)
    assert (np.linalg.norm(change, axis=1) if name.endswith("l2") else change.max(1)).max() <= eps + 1e-6
    assert attacked.min() >= 0 and attacked.max() <= 1
    assert name.startswith("fab") or (change.max(1) > 0).all()  # FAB returns the original if it finds nothing
    np.testing.assert_array_equal(given, images)
    for old, new in zip(weights, cnn.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)


@pytest.mark.parametrize("name", ATTACKS)
def test_a_budget_of_zero_changes_nothing(cnn, images, name):
    np.testing.assert_array_equal(run(name, cnn, images, answers(cnn, images), 0), images)


@pytest.mark.parametrize("name", ATTACKS)
def test_what_is_misclassified_already_is_left_as_it_is(cnn, images, name):
    wrong = (answers(cnn, images) + 1) % 10
    np.testing.assert_array_equal(run(name, cnn, images, wrong), images)


@pytest.mark.deep
@pytest.mark.parametrize("name", ATTACKS)
def test_neither_batch_size_nor_neighbours_matter(cnn, many, truth, name):
    case = cnn, many[:12], truth[:12]
    whole = run(name, *case)
    assert 0 < accuracy(cnn, whole, truth[:12]) < 1
    for size in (1, 5, 12):
        np.testing.assert_allclose(run(name, *case, batch_size=size), whole, atol=1e-6)
    np.testing.assert_allclose(run(name, cnn, many[:3], truth[:3]), whole[:3], atol=1e-6)


@pytest.mark.parametrize("name", [name for name in ATTACKS if not name.startswith("fab")])
def test_the_seed_alone_decides(cnn, many, truth, name):
    case = cnn, many[:6], truth[:6]
    first, again, other = (run(name, *case, seed=seed) for seed in (0, 0, 1))
    np.testing.assert_array_equal(first, again)
    assert (first != other).any(axis=(1, 2, 3)).all()


# ------------------------------------------------------------------------------------------ Auto-PGD


def test_the_checkpoints_are_the_papers():
    assert checkpoints(100) == [22, 41, 57, 70, 80, 87, 93, 99]
    assert checkpoints(50) == [11, 21, 29, 35, 40, 44, 47, 50]
    # As the authors' code counts them: a window that shrinks by 3% of the steps down to 6%.
    for steps in (100, 200, 1000):
        window, reached, counted = 22 * steps // 100, 0, []
        while reached + window <= steps:
            reached += window
            counted.append(reached)
            window = max(window - 3 * steps // 100, 6 * steps // 100)
        assert checkpoints(steps) == counted
    for steps in range(1, 120):
        assert (
            np.all(np.diff(checkpoints(steps)) >= 0)
            and 1 <= checkpoints(steps)[0] <= checkpoints(steps)[-1] <= steps
        )


def algorithm_1(model, images, labels, eps, start, steps, norm, loss):
    """The paper's algorithm 1 in NumPy, its bookkeeping an image at a time."""
    n = len(images)

    def flat(x):
        return np.linalg.norm(x.reshape(n, -1), axis=1)[:, None, None, None]

    def projected(x):
        if norm == "linf":
            return np.clip(np.clip(x, images - eps, images + eps), 0, 1)
        change = np.clip(x, 0, 1) - images
        return np.clip(images + change * np.minimum(1, eps / np.maximum(flat(change), 1e-15)), 0, 1)

    def evaluated(x):
        x = tf.constant(x, tf.float32)
        with tf.GradientTape() as tape:
            tape.watch(x)
            logits = model(x, training=False)
            value = losses.named(loss)(tf.constant(labels, tf.int32), logits)
        gradient = tape.gradient(value, x).numpy()
        uphill = np.sign(gradient) if norm == "linf" else gradient / np.maximum(flat(gradient), 1e-15)
        return value.numpy(), uphill, logits.numpy().argmax(1) != labels

    x, before = start.copy(), start.copy()
    f, uphill, wrong = evaluated(x)
    history = [[value] for value in f]  # each image's losses, in the order met
    found = [x[i] if wrong[i] else None for i in range(n)]
    best = [(f[i], x[i], uphill[i]) for i in range(n)]
    step, halvings = np.full((n, 1, 1, 1), 2 * eps, np.float32), [[] for _ in range(n)]
    at_check, last = f.copy(), 0
    for k in range(1, steps + 1):
        z = projected(x + step * uphill)
        new = z if k == 1 else projected(x + np.float32(0.75) * (z - x) + np.float32(0.25) * (x - before))
        before, x = x, new
        f, uphill, wrong = evaluated(x)
        for i in range(n):
            history[i].append(f[i])
            if wrong[i] and found[i] is None:
                found[i] = x[i].copy()
            if f[i] > best[i][0]:
                best[i] = f[i], x[i].copy(), uphill[i].copy()
        if k in checkpoints(steps):
            for i in range(n):
                recent = history[i][-(k - last) - 1 :]
                one = sum(b > a for a, b in zip(recent, recent[1:], strict=False)) < 0.75 * (k - last)
                two = not (halvings[i] and halvings[i][-1]) and best[i][0] == at_check[i]
                halvings[i].append(one or two)
                if one or two:
                    step[i] /= 2
                    history[i][-1], x[i], uphill[i] = best[i]
                at_check[i] = best[i][0]
            last = k
    return np.stack([best[i][1] if found[i] is None else found[i] for i in range(n)]), halvings


@pytest.mark.deep
@pytest.mark.parametrize("norm", attacks.NORMS)
@pytest.mark.parametrize("loss", ["cross_entropy", "dlr"])
def test_apgd_is_algorithm_1(cnn, many, truth, norm, loss):
    images, labels, steps = many[:12], truth[:12], 25
    eps = EPS if norm == "linf" else 0.17
    start = attacks.random_start_for(images, eps, norm, 5, np.arange(12))
    with eagerly():
        ours = apgd(cnn, images, labels, eps, loss=loss, steps=steps, seed=5, norm=norm)
        expected, halvings = algorithm_1(cnn, images, labels, eps, start, steps, norm, loss)
    np.testing.assert_allclose(ours, expected, atol=2e-6)
    assert 0 < accuracy(cnn, ours, labels) < 1  # both what is found and the best point are compared
    decisions = np.ravel(halvings)
    assert decisions.any() and not decisions.all()
    graph = apgd(cnn, images, labels, eps, loss=loss, steps=steps, seed=5, norm=norm)
    assert (
        np.abs(graph - ours).max((1, 2, 3)) <= 1e-5
    ).mean() >= 0.75  # rounding may turn a stray image elsewhere


@pytest.mark.deep
def test_apgd_is_algorithm_1_where_the_loss_has_many_hills():
    """Here and there a step is halved by condition 2 alone, which the network above never needs."""
    weights = tf.constant(np.random.default_rng(0).normal(0, 1, (48, 10)), tf.float32)

    def hilly(x, training=False):
        return tf.sin(30 * tf.reshape(x, [-1, 48])) @ weights + 50 * tf.one_hot(
            0, 10
        )  # class 0, whatever is done

    images = np.random.default_rng(1).uniform(0.3, 0.7, (400, 4, 4, 3)).astype(np.float32)
    case = images, np.zeros(400, int), 0.1
    start = attacks.random_start_for(images, 0.1, "linf", 5, np.arange(400))
    expected, _ = algorithm_1(hilly, *case, start, 100, "linf", "margin")
    ours = apgd(hilly, *case, loss="margin", steps=100, seed=5, batch_size=400)
    assert (np.abs(ours - expected).max((1, 2, 3)) <= 1e-5).mean() >= 0.995


def linear(n, seed=0):
    """A linear model of 4 x 4 images, and n grey images away from the ends of the range."""
    rng = np.random.default_rng(seed)
    weights = rng.normal(0, 1, (48, 10)).astype(np.float32)

    def model(x):
        return tf.reshape(x, [-1, 48]) @ tf.constant(weights)

    return model, weights, rng.uniform(0.3, 0.7, (n, 4, 4, 3)).astype(np.float32)


@pytest.mark.deep
def test_targeted_apgd_breaks_all_that_can_be_broken_of_a_linear_model():
    """There the largest gain of class t over class y is eps times the L1 distance of their weights."""
    model, weights, images = linear(200)
    labels, eps = answers(model, images), 0.06
    logits = images.reshape(200, 48) @ weights
    gain = eps * np.abs(weights[:, labels].T[:, :, None] - weights[None]).sum(1)
    lead = logits[np.arange(200), labels][:, None] - logits
    can_be = ((gain > lead) & (np.arange(10) != labels[:, None])).any(1)
    assert 0.2 < can_be.mean() < 0.8
    broken = attacks.fooled(model, apgd_targeted(model, images, labels, eps, steps=20), labels)
    np.testing.assert_array_equal(broken, can_be)
    untargeted = attacks.fooled(model, apgd(model, images, labels, eps, steps=20, loss="margin"), labels)
    assert not (untargeted & ~can_be).any() and untargeted.sum() >= 0.95 * can_be.sum()


def test_targeted_apgd_tries_the_likeliest_wrong_classes_first(cnn, images, labels, monkeypatch):
    tried = []
    monkeypatch.setattr(auto_pgd, "_try_all", lambda *given: tried.extend(given[4]))
    order = np.argsort(-np.asarray(cnn(images, training=False)), axis=1)
    others = np.array([[c for c in row if c != label] for row, label in zip(order, labels, strict=True)])
    for classes, expected in ((2, 2), (9, 9), (50, 9)):
        tried.clear()
        apgd_targeted(cnn, images, labels, EPS, classes=classes)
        np.testing.assert_array_equal(tried, others.T[:expected])


def test_apgd_finds_at_least_what_pgd_finds(cnn, many, truth):
    model, _, linear_images = linear(200)
    for network, images, eps in ((cnn, many, EPS), (model, linear_images, 0.06)):
        labels = answers(network, images)
        pgd = accuracy(
            network, attacks.pgd(network, images, labels, eps, steps=20, step_size=eps / 4), labels
        )
        ours = accuracy(network, apgd(network, images, labels, eps, steps=20), labels)
        assert 0 < ours <= pgd < 1


def test_each_try_starts_elsewhere_and_leaves_alone_what_is_broken(cnn, many, truth, monkeypatch):
    drawn = []

    def start(images, eps, norm, seed, numbers, attempt):
        drawn.append((attempt, numbers))
        return attacks.random_start_for(images, eps, norm, seed, numbers, attempt)

    monkeypatch.setattr(auto_pgd, "random_start_for", start)
    for attack, option in ((apgd, "restarts"), (apgd_targeted, "classes")):
        drawn.clear()
        one, three = (attack(cnn, many, truth, EPS, steps=3, **{option: tries}) for tries in (1, 3))
        broken = answers(cnn, one) != truth
        assert [attempt for attempt, _ in drawn] == [0, 0, 1, 2] and 0 < broken.sum() < 48
        np.testing.assert_array_equal(drawn[2][1], np.flatnonzero(~broken))
        np.testing.assert_array_equal(one[broken], three[broken])
        assert (one != three).any()


def test_of_several_tries_the_highest_loss_is_kept(cnn, many, truth):
    def loss(attacked):
        return losses.cross_entropy(tf.constant(truth, tf.int32), cnn(attacked, training=False)).numpy()

    one, three = (loss(apgd(cnn, many, truth, EPS / 8, steps=2, restarts=tries)) for tries in (1, 3))
    assert (three >= one - 1e-5).all() and (three > one + 1e-5).any()


@pytest.mark.deep
def test_logits_so_large_that_cross_entropys_gradient_vanishes_hide_nothing_from_dlr(cnn, many, truth):
    def masked(x):
        return 1e4 * cnn(x, training=False)

    eps = 8 * EPS
    by = {
        loss: accuracy(cnn, apgd(masked, many, truth, eps, steps=10, loss=loss), truth)
        for loss in losses.LOSSES
    }
    assert by["cross_entropy"] > 0.5 and by["dlr"] == by["margin"] == 0
    assert accuracy(cnn, apgd_targeted(masked, many, truth, eps, steps=10), truth) == 0


# --------------------------------------------------------------------------------------------- FAB


def side_at(query, queries, p, height, width):
    return side_of(area_at(query, queries, p, height, width), height, width)


def nearest(point, normal, level, norm):
    """The shortest change that takes a point onto a plane inside the unit cube, by SciPy."""
    n = len(point)
    if norm == "linf":  # minimise t with -t <= change <= t
        bound = np.vstack([np.c_[np.eye(n), -np.ones(n)], np.c_[-np.eye(n), -np.ones(n)]])
        found = optimize.linprog(
            np.r_[np.zeros(n), 1],
            bound,
            np.zeros(2 * n),
            np.r_[normal, 0][None],
            [level - normal @ point],
            [*zip(-point, 1 - point, strict=True), (0, None)],
        )
        return found.x[-1] if found.success else None
    found = optimize.minimize(
        lambda d: d @ d,
        np.zeros(n),
        jac=lambda d: 2 * d,
        bounds=[*zip(-point, 1 - point, strict=True)],
        constraints={"type": "eq", "fun": lambda d: normal @ (point + d) - level, "jac": lambda _: normal},
        method="SLSQP",
        options={"ftol": 1e-12, "maxiter": 500},
    )
    return np.linalg.norm(found.x) if found.success else None


@pytest.mark.parametrize("norm", attacks.NORMS)
def test_the_step_to_a_plane_is_the_shortest_that_stays_in_range(norm):
    rng = np.random.default_rng(0)
    points, normals = rng.random((60, 2, 2, 3)), rng.normal(0, 1, (60, 2, 2, 3))
    levels = (normals * points).sum((1, 2, 3)) + rng.normal(0, 2.5, 60)
    change = step_to_plane(*(tf.constant(x, tf.float32) for x in (points, normals, levels)), norm).numpy()
    ends = points + change
    assert ends.min() >= -1e-6 and ends.max() <= 1 + 1e-6
    beyond = 0
    for k in range(60):
        best = nearest(points[k].ravel(), normals[k].ravel(), levels[k], norm)
        reached = (normals[k] * ends[k]).sum()
        if best is None:  # the cube does not reach the plane: the nearest corner
            corner = np.where((normals[k] > 0) == (levels[k] > (normals[k] * points[k]).sum()), 1, 0)
            np.testing.assert_allclose(ends[k], corner, atol=1e-5)
            beyond += 1
        else:
            size = np.abs(change[k]).max() if norm == "linf" else np.linalg.norm(change[k])
            np.testing.assert_allclose([reached, size], [levels[k], best], atol=2e-4)
    assert 5 < beyond < 50


def test_fab_breaks_all_that_can_be_broken_of_a_linear_model():
    """Its plane is the boundary itself there, so one step to each class would do."""
    model, weights, images = linear(200)
    labels, eps = answers(model, images), 0.06
    logits = images.reshape(200, 48) @ weights
    gain = eps * np.abs(weights[:, labels].T[:, :, None] - weights[None]).sum(1)
    lead = logits[np.arange(200), labels][:, None] - logits
    can_be = ((gain > 1.001 * lead) & (np.arange(10) != labels[:, None])).any(1)
    assert 0.2 < can_be.mean() < 0.8
    broken = attacks.fooled(model, fab_targeted(model, images, labels, eps, steps=40), labels)
    assert not (broken & ~((gain > lead) & (np.arange(10) != labels[:, None])).any(1)).any()
    assert broken.sum() >= 0.98 * can_be.sum()


def test_fab_finds_about_what_apgd_finds(cnn, many, truth):
    apgd_left = accuracy(cnn, apgd_targeted(cnn, many, truth, EPS, steps=20), truth)
    fab_left = accuracy(cnn, fab_targeted(cnn, many, truth, EPS, steps=20), truth)
    assert 0 < apgd_left < 1 and abs(fab_left - apgd_left) <= 0.1


@pytest.mark.parametrize("side", [3, 5, 6, 9])
def test_a_bump_is_a_hill_beside_a_valley(side):
    found = bump(side)
    assert np.linalg.norm(found) == pytest.approx(1, abs=1e-6)
    assert (found[: side // 2] >= 0).all() and (found[side // 2 :] <= 0).all()
    np.testing.assert_array_equal(bump(side, upright=False), found.T)


def test_in_l2_the_change_moves_from_one_window_to_another():
    change, signs = first_change((32, 32, 3), np.ones((2, 36, 3), np.float32)), np.ones((2, 3), np.float32)
    np.testing.assert_allclose(np.linalg.norm(change.reshape(2, -1), axis=1), 1, atol=1e-5)
    change[0] *= 0.5  # clipping took three quarters of its square
    moved = moved_change(change, 1.0, np.array([[2, 3], [20, 9]]), bump(7), signs)
    np.testing.assert_allclose(np.linalg.norm(moved.reshape(2, -1), axis=1), 1, atol=1e-5)
    assert (moved[:, 20:27, 9:16] == 0).all()
    outside = np.ones((32, 32), bool)
    outside[20:27, 9:16] = outside[2:9, 3:10] = False
    # The second image had lost nothing, so the rest of it stays. The first grows back to the whole budget.
    np.testing.assert_allclose(moved[1][outside], change[1][outside], atol=1e-5)
    assert np.abs(moved[0, 2:9, 3:10]).sum() > np.abs(moved[1, 2:9, 3:10]).sum() * 1.2


@pytest.mark.deep
@pytest.mark.parametrize("norm", attacks.NORMS)
def test_the_worst_case_in_either_norm(cnn, many, truth, norm):
    """No attack of the ensemble breaks what it calls robust, and AutoAttack's version has all of them."""
    eps = EPS if norm == "linf" else 0.17
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(EFFORTS, "small", Effort(5, 1, 2, 20, with_fab=True))
        found = worst_case(cnn, many, truth, eps, effort="small", norm=norm)
    assert found.attacks == ("apgd-ce", "apgd-t", "fab-t", "square") and 0 < found.robust.mean() < 1
    change = (found.images - many).reshape(48, -1)
    size = np.abs(change).max(1) if norm == "linf" else np.linalg.norm(change, axis=1)
    assert 0 < size.max() <= eps * (1 + 1e-5)
    np.testing.assert_array_equal(answers(cnn, found.images) == truth, found.robust)


def test_the_effort_autoattack_is_the_standard_version():
    found = ensemble("autoattack")
    assert list(found) == ["apgd-ce", "apgd-t", "fab-t", "square"]
    assert [dict(member.budget) for member in found.values()] == [
        {"steps": 100, "restarts": 1},
        {"steps": 100, "classes": 9},
        {"steps": 100, "classes": 9},
        {"queries": 5000},
    ]
    assert "fab-t" not in ensemble("standard")


def test_another_number_does_not_trace_the_graph_anew(images):
    traced = []

    def model(x):
        if not tf.executing_eagerly():
            traced.append(x.shape)
        return tf.reshape(x, [-1, 3072])[:, :10]

    case = model, images, answers(model, images)
    apgd(*case, 0.001, steps=3)
    first = len(traced)
    apgd(*case, 0.002, steps=50, seed=1, restarts=1)
    assert len(traced) == first > 0
    traced.clear()
    for queries in (3, 50, 40):
        square(*case, 1e-3 * queries, queries=queries, seed=queries)
    assert len(traced) <= 2  # for the whole batch, and for any size


# -------------------------------------------------------------------------------------------- Square


def test_the_squares_shrink_as_the_paper_has_it():
    def side(p):
        return round((p * 1024) ** 0.5)

    for queries in (10_000, 1_000):
        scale = queries / 10_000
        for after, before, halvings in (
            (10, 50, 1),
            (50, 200, 2),
            (200, 500, 3),
            (2000, 4000, 6),
            (8000, 9999, 9),
        ):
            for query in (int(after * scale) + 1, int(before * scale)):
                assert side_at(query, queries, 0.8, 32, 32) == max(side(0.8 / 2**halvings), 1), (
                    query,
                    halvings,
                )
        assert side_at(0, queries, 0.8, 32, 32) == side_at(int(10 * scale), queries, 0.8, 32, 32) == 29
    assert side_at(0, 10, 1.0, 32, 16) == 16  # a square fits into the image


def test_square_draws_stripes_and_squares(many):
    generators = [np.random.default_rng(k) for k in range(48)]
    stripes = square_attack._stripes((32, 32, 3), generators)
    assert (stripes[0] != stripes[1:]).any((1, 2, 3)).all() and stripes.shape == (48, 1, 32, 3)
    assert set(np.unique(stripes)) == {-1, 1} and abs(stripes.mean()) < 0.1
    touched = np.zeros((32, 32))
    for _ in range(200):
        signs, inside = square_attack._squares((32, 32, 3), generators, 5)
        assert signs.shape == (48, 1, 1, 3) and set(np.unique(signs)) == {-1, 1}
        for mask in inside[..., 0]:
            rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
            assert mask.sum() == 25 and np.ptp(rows) == np.ptp(columns) == 4
        touched += inside[..., 0].sum(0)
    corners = touched[[0, 0, -1, -1], [0, -1, 0, -1]]
    assert corners.min() > 0  # every place, to the last row and column
    assert (np.abs(touched[4:-4, 4:-4] / touched[4:-4, 4:-4].mean() - 1) < 0.3).all()


def test_square_keeps_only_what_raises_the_margin_and_values_stay_at_the_ends(cnn, many):
    inner = 0.1 + 0.8 * many
    right = answers(cnn, inner)
    eps = 1e-4  # breaks next to nothing
    one, ten, more = (square(cnn, inner, right, eps, queries=q, p=0.1) for q in (1, 10, 200))
    first, last = (
        losses.margin(tf.constant(right, tf.int32), cnn(x, training=False)).numpy() for x in (one, more)
    )
    standing = last < 0
    assert standing.mean() > 0.8 and (last >= first).all() and last.mean() > first.mean() + 1e-3
    for attacked in (one, ten, more):
        np.testing.assert_allclose(np.abs(attacked - inner)[standing], eps, atol=1e-7)
    stripes = (one - inner)[standing]
    assert (np.sign(stripes[0]) != np.sign(stripes[1:])).any((1, 2, 3)).all()  # no two images share theirs
    np.testing.assert_allclose(stripes, np.broadcast_to(stripes[:, :1], stripes.shape), atol=2e-7)


def test_square_asks_no_more_than_it_may(cnn, many, truth):
    asked = []

    def counted(x):
        asked.append(len(x))
        return cnn(x, training=False)

    with eagerly():
        square(counted, many[:16], truth[:16], 32 / 255, queries=60)
    assert asked[:3] == [1, 16, 16]  # one to see what the model is, the clean images, the stripes
    assert len(asked) <= 2 + 60 and asked[-1] < 16  # in the end only those still standing


def test_square_beats_random_signs_and_needs_no_gradient(cnn, many, truth):
    def rounded(x):
        return cnn(tf.round(x * 64) / 64, training=False)

    for model in (cnn, rounded):
        labels, eps = answers(model, many), 8 * EPS
        noise = accuracy(model, attacks.random_signs(many, eps, 0), labels)
        assert accuracy(model, square(model, many, labels, eps, queries=100), labels) < noise - 0.2
    with pytest.raises(CourseError, match="no gradient"):
        apgd(rounded, many, truth, EPS)


# ---------------------------------------------------------------------------------------- worst case


@pytest.mark.deep
def test_the_worst_case_is_never_above_any_attack_and_says_who_broke_what(cnn, many, truth):
    labels = truth.copy()
    labels[:3] = (labels[:3] + 1) % 10
    result = worst_case(cnn, many, labels, EPS, effort="quick", seed=2)
    assert isinstance(result, Result) and result.images.dtype == np.float32
    assert 0 < result.robust.mean() < 1
    for attack in ensemble("quick").values():
        assert result.robust.mean() <= accuracy(cnn, attack(cnn, many, labels, EPS, 2), labels)
    np.testing.assert_array_equal(answers(cnn, result.images) == labels, result.robust)
    np.testing.assert_array_equal(result.broken_by == "clean", np.arange(48) < 3)
    untouched = result.robust | (result.broken_by == "clean")
    np.testing.assert_array_equal((result.images == many).all((1, 2, 3)), untouched)
    assert list(result.counts()) == ["clean", "apgd-ce", "apgd-t", "square"]
    assert sum(result.counts().values()) == (~result.robust).sum() and result.counts()["clean"] == 3
    first = apgd(cnn, many, labels, EPS, steps=EFFORTS["quick"].steps, seed=2)
    np.testing.assert_array_equal(
        result.broken_by == "apgd-ce", (answers(cnn, first) != labels) & (labels == truth)
    )


def test_a_callers_attacks_run_in_turn_on_the_images_still_standing(cnn, images):
    """The label is whether the image is bright, so that an attack is a change of brightness by hand."""

    def model(x):
        bright = tf.reduce_mean(x, [1, 2, 3]) - 0.5
        return tf.stack([-bright, bright], 1)

    levels = np.array([0.2, 0.45, 0.48, 0.52, 0.55, 0.8], np.float32)
    pictures = np.broadcast_to(levels[:, None, None, None], (6, 8, 8, 3)).copy()
    labels = np.array([0, 0, 0, 1, 1, 0])
    seen = []

    def darken(model, x, y, eps, seed):
        seen.append((len(x), seed))
        x -= np.float32(eps)  # into its argument, which must not matter
        y[:] = 9
        return np.clip(x, 0, 1)

    def brighten_a_little(model, x, y, eps, seed):
        seen.append((len(x), seed))
        return x + np.float32(0.03)

    result = worst_case(
        model, pictures, labels, 0.04, attacks={"down": darken, "up": brighten_a_little}, seed=7
    )
    assert seen == [(5, 7), (4, 7)]
    assert result.broken_by.tolist() == ["", "", "up", "down", "", "clean"]
    assert result.robust.tolist() == [True, True, False, False, True, False]
    assert result.counts() == {"clean": 1, "down": 1, "up": 1}
    np.testing.assert_allclose(result.images[:, 0, 0, 0], [0.2, 0.45, 0.51, 0.48, 0.55, 0.8], atol=1e-6)


CHEATS = {
    "leaves the ball": (
        lambda x, eps: np.clip(x + 1.1 * eps, 0, 1),
        "'cheat' moved a value by 0.0.*, more than eps",
    ),
    "leaves the range": (
        lambda x, eps: np.where(x > 0.99, x + eps, x),
        r"'cheat' returned values outside \[0, 1\]",
    ),
    "is not a number": (lambda x, eps: x * np.float32("nan"), r"'cheat' returned values outside \[0, 1\]"),
    "is fewer": (
        lambda x, eps: x[1:],
        r"'cheat' returned float32 \(\d+, 32, 32, 3\); float32 .* was expected",
    ),
    "is uint8": (lambda x, eps: x.astype(np.uint8), "'cheat' returned uint8"),
}


@pytest.mark.parametrize("case", CHEATS)
def test_an_attack_that_cheats_is_refused(cnn, images, case):
    cheat, message = CHEATS[case]

    def attack(model, x, y, eps, seed):
        return cheat(x, np.float32(eps))

    with pytest.raises(CourseError, match=message) as caught:
        worst_case(cnn, images, answers(cnn, images), 8 / 255, attacks={"cheat": attack})
    assert "\n" not in str(caught.value)


# ----------------------------------------------------------------------------------------- bad input


@pytest.mark.parametrize("case", [case for case in BAD if "step size" not in case])
def test_bad_input_is_named_with_its_remedy(cnn, images, labels, case):
    changes, message = BAD[case]
    good = {"model": cnn, "images": images, "labels": labels, "eps": EPS}
    given = good | {k: v(good[k]) if callable(v) else v for k, v in changes.items()}
    calls = [apgd, apgd_targeted] if "steps" in changes else [apgd, apgd_targeted, square, worst_case]
    for call in calls:
        with pytest.raises(CourseError, match=message) as caught:
            call(**given)
        assert "\n" not in str(caught.value)


def classes(n):
    return lambda x: tf.reshape(x, [-1, 3072])[:, :n]


@pytest.mark.parametrize(
    "attack, options, message",
    [
        (apgd, {"loss": "hinge"}, "unknown loss 'hinge'; choose one of cross_entropy, margin, dlr"),
        (apgd, {"norm": "l1"}, "unknown norm 'l1'; choose one of linf, l2"),
        (apgd, {"restarts": 0}, "restarts is 0; an attack is tried at least once"),
        (
            apgd,
            {"model": classes(2), "loss": "dlr"},
            "needs 3 classes, but the model knows 2; take another loss",
        ),
        (apgd_targeted, {"model": classes(3)}, "needs 4 classes, but the model knows 3"),
        (apgd_targeted, {"classes": 0}, "classes is 0; at least 1 wrong class is tried"),
        (square, {"queries": 0}, "queries is 0; an attack takes at least 1"),
        (square, {"p": 0}, "p is 0; it is a fraction of the pixels"),
        (square, {"p": 1.5}, "p is 1.5; it is a fraction of the pixels"),
        (worst_case, {"effort": "best"}, "unknown effort 'best'; choose one of autoattack"),
        (worst_case, {"attacks": {"clean": apgd}}, "an attack is named '' or 'clean'"),
    ],
)
def test_a_bad_option_is_named(cnn, images, attack, options, message):
    given = {"model": cnn, "images": images, "labels": np.arange(12) % 2, "eps": EPS} | options
    with pytest.raises(CourseError, match=message) as caught:
        attack(**given)
    assert "\n" not in str(caught.value)


# -------------------------------------------------------------------------------------------- parity


def art_accuracy(attack, model, images, labels, eps, seed=0, **options):
    """Robust accuracy under one of ART's attacks; its random numbers are NumPy's own."""
    loss = tf.keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    classifier = TensorFlowV2Classifier(model, 10, (32, 32, 3), loss_object=loss, clip_values=(0, 1))
    state = np.random.get_state()
    np.random.seed(seed)
    attacked = attack(classifier, eps=eps, batch_size=128, verbose=False, **options).generate(images, labels)
    np.random.set_state(state)
    assert np.abs(attacked - images).max() <= eps + 1e-6
    return accuracy(model, attacked, labels)


@pytest.fixture(params=["cnn", pytest.param("resnet20", marks=pytest.mark.slow)])
def network(request, many):
    """A model, images and labels: of noise, or of CIFAR-10."""
    model = request.getfixturevalue(request.param)
    if request.param == "cnn":
        return model, many, answers(model, many)
    return model, *request.getfixturevalue("cifar10").test.take(24)


@pytest.mark.deep
def test_our_apgd_breaks_as_much_as_arts(network):
    options = {"eps_step": 2 * EPS, "max_iter": 8, "nb_random_init": 1, "loss_type": "cross_entropy"}
    theirs = art_accuracy(AutoProjectedGradientDescent, *network, EPS, **options)
    ours = accuracy(network[0], apgd(*network, EPS, steps=8), network[2])
    # The random starts differ, so allow two images.
    assert 0 < ours <= theirs + 2 / 24 and theirs < 0.8


@pytest.mark.deep
def test_our_square_breaks_as_much_as_arts(network):
    """Compare means over seeds: with so few images they scatter, since ART tries the same squares on all."""
    model, images, labels = network
    eps = 16 / 255
    theirs = [art_accuracy(SquareAttack, *network, eps, max_iter=40, seed=seed) for seed in range(3)]
    ours = [accuracy(model, square(*network, eps, queries=41, seed=seed), labels) for seed in range(3)]
    assert 0 < np.mean(ours) <= np.mean(theirs) + 0.1 and np.mean(theirs) < 0.8
