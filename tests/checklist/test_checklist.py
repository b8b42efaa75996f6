"""The checklist passes a sound evaluation and names each of the mistakes that are planted here."""

from __future__ import annotations

from functools import partial

import IPython.display
import numpy as np
import pytest

from helpers import attacks, checklist, classifiers
from helpers.attacks.adaptive import straight_through
from helpers.backend import keras, tf
from helpers.datasets import storage
from helpers.settings import CourseError

EPS = 8 / 255
SLOW = {"twice the steps", "restarts", "Square"}
SIZE, CLASSES, N = 8, 5, 60


def patterns(n: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Images of grey levels k/255: a faint pattern of the class, of either sign, under noise. No linear
    function of the image tells the classes apart."""
    faint = np.sign(np.random.default_rng(0).normal(0, 1, (CLASSES, SIZE, SIZE, 3)))
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, CLASSES, n)
    sign = rng.choice([-1, 1], (n, 1, 1, 1))
    brightness = rng.uniform(0.1, 0.9, (n, 1, 1, 1))
    images = brightness + 0.05 * sign * faint[labels] + rng.normal(0, 0.06, (n, SIZE, SIZE, 3))
    return (np.round(255 * images.clip(0, 1)) / 255).astype(np.float32), labels


def build(seed: int) -> keras.Model:
    """A network with BatchNorm behind its normalisation, trained in seconds. ``network`` is what is
    normalised for."""
    keras.utils.set_random_seed(seed)
    layers = keras.layers
    network = keras.Sequential(
        [
            keras.Input((SIZE, SIZE, 3)),
            layers.Flatten(),
            layers.Dense(64),
            layers.BatchNormalization(),
            layers.ReLU(),
            layers.Dense(CLASSES),
        ],
        name="network",
    )
    images = keras.Input((SIZE, SIZE, 3))
    model = keras.Model(images, network(classifiers.Normalize([0.2, 0.5, 0.8], [0.1] * 3)(images)))
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.legacy.Adam(3e-3), loss)
    model.fit(*patterns(3000, seed + 10), batch_size=100, epochs=8, verbose=0)
    return model


@pytest.fixture(scope="module")
def model():
    return build(0)


@pytest.fixture(scope="module")
def data():
    return patterns(N, 1)


def by_hand(
    model, images, labels, eps, *, uphill=1.0, project=True, clip=True, training=False, output=lambda z: z
):
    """PGD as a student writes it, ten steps without a random start; each argument plants one mistake."""
    moved = tf.constant(images)
    for _ in range(10):
        with tf.GradientTape() as tape:
            tape.watch(moved)
            logits = model(moved, training=training) if isinstance(model, keras.Model) else model(moved)
            loss = tf.nn.sparse_softmax_cross_entropy_with_logits(labels, output(logits))
        moved = moved + uphill * max(eps / 4, 0.01) * tf.sign(tape.gradient(loss, moved))
        if project:
            moved = tf.clip_by_value(moved, images - eps, images + eps)
        if clip:
            moved = tf.clip_by_value(moved, 0, 1)
    return moved.numpy()


def failed(table) -> set[str]:
    return set(checklist.failed_checks(table)["check"])


# ------------------------------------------------------------------------------------------ sound evaluations


def test_a_sound_evaluation_passes_every_check(model, data):
    stored = attacks.pgd(model, *data, EPS, seed=5)
    transfer = attacks.pgd(lambda x: model(x + 0.01, training=False), *data, EPS)
    before = [data[0].copy(), *model.get_weights()]
    table = checklist.check_evaluation(model, *data, EPS, attacked=stored, transfer=transfer)
    assert list(table.columns) == ["check", "value", "bound", "passed", "meaning"]
    assert len(table) == len(checklist.CHECKS) == table["check"].nunique() and table["passed"].dtype == bool
    assert not failed(table), checklist.markdown(checklist.failed_checks(table))
    assert not table["value"].str.startswith(checklist.NOT_RUN).any()
    for old, new in zip(before, [data[0], *model.get_weights()], strict=True):
        np.testing.assert_array_equal(old, new)


VACUOUS = SLOW | {
    "more eps, less accuracy",
    "eps = 1",
    "attack <= random signs",
    "attack <= FGSM",
    "FGSM <= random signs",
    "margin loss",
    "end-to-end <= transfer",
    "fresh images",
    "worst case",
}
"""The rows that cannot fail where no clean image is classified correctly."""


def test_shifted_labels_are_noticed_and_rows_that_could_not_fail_say_so(model, data):
    images, labels = data[0], (data[1] + 1) % CLASSES
    sound = checklist.check_evaluation(model, *data, EPS, quick=True).set_index("check")
    made = attacks.pgd(model, images, labels, EPS)
    table = checklist.check_evaluation(
        model, images, labels, EPS, attacked=made, transfer=images, queries=1
    ).set_index("check")
    assert not table.loc["clean accuracy", "passed"]
    assert set(table.index[table["bound"].str.contains("vacuous")]) == VACUOUS
    assert not sound.loc[["eps = 1", "attack <= FGSM"], "bound"].str.contains("vacuous").any()


def test_a_nan_is_no_correct_answer(data):
    """Not even for class 0, which plain argmax takes it for."""

    def silent(x):
        return tf.reshape(x, [-1, SIZE * SIZE * 3])[:, :CLASSES] * np.nan

    table = checklist.check_evaluation(silent, data[0], 0 * data[1], EPS, quick=True).set_index("check")
    assert not table.loc["clean accuracy", "passed"] and table.loc["clean accuracy", "value"].startswith(
        "0.0%"
    )


@pytest.mark.deep
@pytest.mark.parametrize("attack", [by_hand, partial(attacks.pgd, steps=20, step_size=0.005, loss="margin")])
def test_other_attacks_pass_too(model, data, attack):
    assert not failed(checklist.check_evaluation(model, *data, EPS, attack=attack))


@pytest.mark.deep
def test_a_defense_may_be_a_function_or_have_more_than_one_batch(model):
    images, labels = patterns(140, 2)
    blur = tf.ones((3, 3, 3, 1)) / 9

    def defended(x):
        return model(x / 2 + tf.nn.depthwise_conv2d(x, blur, [1, 1, 1, 1], "SAME") / 2, training=False)

    table = checklist.check_evaluation(defended, images, labels, EPS)
    assert not failed(table), checklist.markdown(checklist.failed_checks(table))
    weights = table.set_index("check").loc["weights", "value"]
    assert weights == f"0 of {len(model.weights)} arrays changed"  # they were found within the function


def test_images_in_storage_form(model, data):
    eps = 1974.6 / 65535  # which storage rounds up
    stored = storage.to_uint16(attacks.pgd(model, *data, eps))
    table = checklist.check_evaluation(model, *data, eps, attacked=stored, quick=True)
    assert not failed(table), checklist.markdown(checklist.failed_checks(table))


@pytest.mark.deep
@pytest.mark.parametrize("eps", [1 / 255, 0.2, 0.6])
def test_other_budgets(model, data, eps):
    assert not failed(checklist.check_evaluation(model, *data, eps, quick=True))


def test_what_the_attack_is_asked_for(model, data):
    """Its own steps and seeds are varied where it has them, and only then."""
    calls = []

    def attack(model, images, labels, eps, *, steps=3, seed=0):
        calls.append((eps, steps, seed))
        return images

    checklist.check_evaluation(model, *data, EPS, attack=attack, seed=7, queries=1)
    budgets = [(eps, 3, 7) for eps in (EPS, 0.0, checklist.SMALL, 2 * EPS, 1.0)]
    assert calls == [*budgets, (EPS, 6, 7), (EPS, 3, 8), (EPS, 3, 9)]
    calls.clear()
    checklist.check_evaluation(model, *data, EPS, attack=lambda *given: attack(*given), seed=7, queries=1)
    assert calls == [(eps, 3, 0) for eps, *_ in budgets]


@pytest.mark.deep
def test_the_seed_alone_decides(model, data):
    first, again, other = (
        checklist.check_evaluation(model, *data, EPS, seed=seed, quick=True) for seed in (0, 0, 1)
    )
    assert first.equals(again) and not first.equals(other)


@pytest.mark.slow
def test_resnet20_on_cifar10(resnet20, cifar10):
    """Sound as it is; and the mistake of the paper's released code, a gradient taken without the
    normalisation."""
    images, labels = cifar10.test.head(48).take()
    table = checklist.check_evaluation(
        resnet20, images, labels, EPS, attacked=attacks.pgd(resnet20, images, labels, EPS)
    )
    assert not failed(table), checklist.markdown(checklist.failed_checks(table))
    network = classifiers.network_of(resnet20)

    def without_normalisation(_, images, labels, eps):
        return attacks.pgd(lambda x: network(x, training=False), images, labels, eps)

    table = checklist.check_evaluation(
        resnet20, images, labels, EPS, attack=without_normalisation, quick=True
    )
    assert {"follows gradient", "margin loss"} <= failed(table)


# --------------------------------------------------------------------------------------------- planted faults


def attack_on(other):
    """An attack that asks another function than the one assessed for its gradient."""
    return lambda model, *given: by_hand(other(model), *given)


def lucky(model, images, labels, eps, *, seed=0):
    """Half of the images, drawn anew with each seed, are not attacked at all."""
    drawn = np.random.default_rng(seed).random((len(images), 1, 1, 1)) < 0.5
    return np.where(drawn, by_hand(model, images, labels, eps), images)


def shrinking(model, images, labels, eps):
    """A single step that is divided by eps: the more is allowed, the less it does."""
    with tf.GradientTape() as tape:
        tape.watch(x := tf.constant(images))
        loss = tf.nn.sparse_softmax_cross_entropy_with_logits(labels, model(x, training=False))
    step = min(eps, EPS**2 / max(eps, 1e-6))
    return np.clip(images + step * np.sign(tape.gradient(loss, x)), 0, 1)


def short(model, images, labels, eps, *, steps=2):
    return attacks.pgd(model, images, labels, eps, steps=steps, step_size=0.005, random_start=False)


def raises(*_):
    raise ValueError("no gradient\nand more lines")


def spoiled(model, images, labels, eps):
    images[:] = np.nan  # in place, too
    return images


def saturating(logits):
    """What Keras's cross-entropy makes of probabilities: clipped, so that a sure network has no gradient."""
    return tf.math.log(tf.clip_by_value(tf.nn.softmax(logits), 1e-7, 1 - 1e-7))


ATTACKS = {
    "no normalisation": (
        attack_on(lambda model: partial(model.get_layer("network"), training=False)),
        {"follows gradient", "twice the steps", "margin loss", "worst case"},
    ),
    "step down": (
        partial(by_hand, uphill=-1.0),
        {"loss rises", "follows gradient", "attack <= FGSM", "eps = 1"},
    ),
    "no projection": (partial(by_hand, project=False), {"in the ball", "eps = 0"}),
    "no clipping": (partial(by_hand, clip=False), {"in range"}),
    "not numbers": (spoiled, {"in range"}),
    "eps in grey levels": (lambda m, x, y, eps: by_hand(m, x, y, 255 * eps), {"in the ball"}),
    "eps divided twice": (lambda m, x, y, eps: by_hand(m, x, y, eps / 255), {"uses eps", "eps = 1"}),
    "eps ignored": (lambda m, x, y, eps: by_hand(m, x, y, EPS), {"eps = 0", "eps = 1"}),
    "training mode": (partial(by_hand, training=True), {"weights"}),
    "one step": (attacks.fgsm, {"twice the steps"}),
    "too few steps": (short, {"twice the steps"}),
    "luck": (lucky, {"restarts"}),
    "step shrinks": (shrinking, {"more eps, less accuracy"}),
    "error": (raises, {"runs", "uses eps"}),
    "another shape": (lambda m, x, y, eps: x[:, :4], {"runs"}),
}


def levels(n):
    return lambda x: tf.round(n * x) / n


def mostly_hidden(model):
    """Three quarters of the image reach the network without a gradient."""
    seen = np.zeros((SIZE, SIZE, 1), np.float32)
    seen[::2, ::2] = 1
    return lambda x: model(x * seen + tf.stop_gradient(x) * (1 - seen), training=False)


MODELS = {
    "softmax": (lambda m: lambda x: tf.nn.softmax(m(x, training=False)), {"logits", "runs"}),
    "NaN": (lambda m: lambda x: m(x, training=False) * np.nan, {"logits"}),
    "training mode": (lambda m: lambda x: m(x, training=True), {"neighbours", "weights"}),
    "random": (
        lambda m: lambda x: m(x + tf.random.normal(tf.shape(x), 0, 0.05), training=False),
        {"neighbours"},
    ),
    "rounded": (
        lambda m: lambda x: m(levels(20)(x), training=False),
        {
            "runs",
            "zero gradients",
            "true gradient",
            "attack <= random signs",
            "FGSM <= random signs",
            "Square",
        },
    ),
    "straight through": (lambda m: straight_through(levels(20), then=m), {"true gradient"}),
    "saturated": (
        lambda m: lambda x: 1e4 * m(x, training=False),
        {"saturation", "zero gradients", "margin loss", "FGSM <= random signs", "Square"},
    ),
    "hidden": (mostly_hidden, {"zero entries"}),
}
STRONG = 0.2
"""A budget at which chance breaks images, so that an attack without gradients can."""


@pytest.fixture
def unchanged(model):
    """The trained network, put back as it was afterwards."""
    before = model.get_weights()
    yield model
    model.set_weights(before)


def in_tiers(faults, first):
    """The first faults in every tier, the others in ``make test``."""
    return [f if f in first else pytest.param(f, marks=pytest.mark.deep) for f in faults]


@pytest.mark.deep
@pytest.mark.parametrize(
    "fault", in_tiers(ATTACKS, {"step down", "no projection", "eps divided twice", "error"})
)
def test_faults_in_the_attack(unchanged, data, fault):
    attack, checks = ATTACKS[fault]
    table = checklist.check_evaluation(
        unchanged, *data, EPS, attack=attack, queries=1, quick=not checks & SLOW
    )
    assert checks <= failed(table), checklist.results(table).to_string()
    assert np.isfinite(data[0]).all()  # whatever the attack does to its arguments


@pytest.mark.deep
@pytest.mark.parametrize("fault", in_tiers(MODELS, {"softmax", "training mode", "straight through"}))
def test_faults_in_the_model(unchanged, data, fault):
    change, checks = MODELS[fault]
    eps = STRONG if "Square" in checks else EPS
    table = checklist.check_evaluation(change(unchanged), *data, eps, queries=50, quick=not checks & SLOW)
    assert checks <= failed(table), checklist.results(table).to_string()


@pytest.mark.deep
def test_a_loss_taken_on_probabilities(model, data):
    """Of a network so sharp that it is hard, not impossible, to attack on its logits."""

    def sharp(x):
        return 10 * model(x, training=False)

    sound = checklist.check_evaluation(sharp, *data, EPS, quick=True)
    assert failed(sound) <= {"saturation"}, checklist.results(sound).to_string()
    table = checklist.check_evaluation(
        sharp, *data, EPS, attack=partial(by_hand, output=saturating), quick=True
    )
    checks = {"margin loss", "follows gradient", "loss rises", "worst case"}
    assert checks <= failed(table), checklist.results(table).to_string()


@pytest.mark.deep
def test_images_made_for_another_model(model, data):
    """A stale transfer set is named as such, and shows where the attack under test is the weaker one."""
    stale = by_hand(model.get_layer("network"), *data, EPS)
    table = checklist.check_evaluation(model, *data, EPS, attacked=stale, quick=True)
    assert {"fresh images", "loss rises", "worst case"} <= failed(table), checklist.results(table).to_string()
    assert "transfer" in table.set_index("check").loc["fresh images", "meaning"]
    assert not failed(checklist.check_evaluation(model, *data, EPS, transfer=stale, quick=True))
    attack, strong = ATTACKS["no normalisation"][0], by_hand(model, *data, EPS)
    assert "end-to-end <= transfer" in failed(
        checklist.check_evaluation(model, *data, EPS, attack=attack, transfer=strong, quick=True)
    )


@pytest.mark.parametrize(
    "change, check", [(lambda x: x - 0.04, "in the ball"), (lambda x: x - x.min() - 1e-4, "in range")]
)
def test_stored_images_are_held_to_the_rules(model, data, change, check):
    table = checklist.check_evaluation(
        model, *data, EPS, attacked=change(data[0]).astype(np.float32), quick=True
    )
    assert check in failed(table)


@pytest.mark.deep
def test_images_outside_the_ball_do_not_count_in_the_worst_case(model, data):
    far = by_hand(model, *data, 0.5)
    with_far, without = (
        checklist.check_evaluation(model, *data, EPS, transfer=x, quick=True)
        .set_index("check")
        .loc["worst case", "value"]
        for x in (far, None)
    )
    assert with_far == without and not without.startswith("0.0%")


def test_every_check_has_a_fault_that_it_finds(model, data):
    named = set.union(*(checks for _, checks in (ATTACKS | MODELS).values()))
    named |= {"fresh images", "end-to-end <= transfer", "clean accuracy"}  # in tests of their own
    assert named == set(checklist.check_evaluation(model, *data, EPS, quick=True)["check"])


# ------------------------------------------------------------------------------------ the table and bad input


def test_what_was_left_out_is_said(model, data):
    table = checklist.check_evaluation(model, *data, EPS, quick=True)
    left_out = table[table["value"].str.startswith(checklist.NOT_RUN)]
    assert (
        set(left_out["check"]) == SLOW | {"end-to-end <= transfer", "fresh images"}
        and left_out["passed"].all()
    )
    shown = checklist.results(table).set_index("check")["result"]
    assert (shown[left_out["check"]] == "not run").all() and (shown.drop(left_out["check"]) == "pass").all()


def test_a_model_without_variables():
    """And one that no graph can hold."""
    images, labels = patterns(20, 3)

    def numbers(x):
        return tf.constant(x.numpy().reshape(len(x), -1)[:, :CLASSES])

    table = checklist.check_evaluation(numbers, images, labels, EPS, quick=True).set_index("check")
    assert table.loc["weights", "value"].startswith("not run: not applicable")
    assert not table.loc["runs", "passed"] and not table.loc["zero gradients", "passed"]


def test_the_table_is_shown_in_words(model, data, monkeypatch):
    table = checklist.check_evaluation(model, *data, EPS, attack=raises, quick=True)
    assert len(checklist.failed_checks(table)) and not checklist.failed_checks(table)["passed"].any()
    text = checklist.markdown(table)
    assert len(text.splitlines()) == len(table) + 2 and {line.count("|") for line in text.splitlines()} == {6}
    assert (
        "| runs | FAIL | attack: no gradient; eps = 0: no gradient" in text and "| weights | pass |" in text
    )
    assert table.set_index("check").loc["runs", "meaning"] in text  # what failed is explained,
    assert table.set_index("check").loc["weights", "meaning"] not in text  # what passed is not
    given = []
    monkeypatch.setattr(IPython.display, "display", lambda data, raw: given.append(data))
    checklist.show(table)
    assert "FAIL" in given[0]["text/html"] and given[0]["text/plain"] == given[0]["text/markdown"] == text


def test_all_but_a_few_checks_can_be_folded(model, data, monkeypatch):
    """What failed is never folded."""
    table = checklist.check_evaluation(model, *data, EPS, attack=raises, quick=True)
    given = []
    monkeypatch.setattr(IPython.display, "display", lambda data, raw: given.append(data))
    checklist.show(table, first=["weights"])
    for form in ("text/html", "text/markdown"):
        above, folded = given[0][form].split("<details>")
        assert "weights" in above and "FAIL" in above
        assert "weights" not in folded and "FAIL" not in folded and "in range" in above + folded
    rest = len(table) - len(checklist.failed_checks(table)) - 1
    assert f"The other {rest} checks" in given[0]["text/html"]


def test_numbers_may_be_text_and_whole_numbers_may_end_in_0(model, data):
    expected = checklist.check_evaluation(model, *data, EPS, seed=3, quick=True)
    assert checklist.check_evaluation(model, *data, "8/255", seed=3.0, queries="9.0", quick=True).equals(
        expected
    )


BAD = {
    "eps 8": ({"eps": 8}, "eps is 8.*8/255"),
    "eps 0": ({"eps": 0}, "eps is 0"),
    "images": ({"images": lambda x: 255 * x}, "255"),
    "few": ({"images": lambda x: x[:5], "labels": lambda y: y[:5]}, "5 images"),
    "labels": ({"labels": lambda y: y + CLASSES}, "labels"),
    "model": ({"model": lambda m: "resnet20"}, "model is a str"),
    "seed": ({"seed": lambda _: -1}, "seed is -1"),
    "queries": ({"queries": lambda _: 0}, "queries is 0"),
    "attack": ({"attack": lambda _: "pgd"}, "attack is a str"),
    "attacked": (
        {"attacked": lambda _: np.zeros((3, 8, 8, 3), np.float32)},
        r"attacked has shape \(3, 8, 8, 3\)",
    ),
    "transfer": (
        {"transfer": lambda _: np.zeros((3, 8, 8, 3), np.float32)},
        r"transfer has shape \(3, 8, 8, 3\)",
    ),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input_is_named_with_its_remedy(model, data, case):
    changes, message = BAD[case]
    given = {"model": model, "images": data[0], "labels": data[1], "eps": EPS}
    given |= {k: v(given.get(k)) if callable(v) else v for k, v in changes.items()}
    with pytest.raises(CourseError, match=message) as caught:
        checklist.check_evaluation(**given)
    assert "\n" not in str(caught.value)
