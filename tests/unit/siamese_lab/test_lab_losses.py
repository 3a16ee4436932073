"""Each loss against a loop over its definition, its gradient against differences, its laws, and what it refuses."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from siamese_lab.losses import (
    LOSSES,
    BatchLoss,
    LabelConvention,
    LossKind,
    PairLoss,
    TripletLoss,
    build_loss,
    read_mated,
)
from siamese_lab.losses.circle import CircleLoss
from siamese_lab.losses.margin_softmax import ArcFaceLoss, CosFaceLoss, MarginSoftmaxLoss
from siamese_lab.losses.pair_entropy import PairEntropyLoss
from siamese_lab.options import Option
from tessera.domain.errors import InvalidInputError

DIMENSIONS, CLASSES = 4, 3

Case = tuple[str, dict[str, Option]]
PAIR: list[Case] = [
    ("contrastive", {}),
    ("contrastive", {"margin": 2.0, "comparison": "cosine"}),
    ("contrastive", {"margin": 2.5, "reduction": "mean-of-active"}),
    ("pair-entropy", {}),
    ("pair-entropy", {"head": "componentwise"}),
]
TRIPLET: list[Case] = [
    ("triplet", {}),
    ("triplet", {"squared": False, "margin": 0.5}),
    ("triplet", {"comparison": "cosine", "squared": False}),
    ("triplet", {"reduction": "mean-of-active"}),
]
MINED: list[Case] = [("mined-triplet", {"mining": mining, "margin": 1.0}) for mining in ("all", "hard", "semi-hard")]
MINED += [("mined-triplet", {"mining": "hard", "comparison": "cosine", "squared": False})]
CLASSIFYING: list[Case] = [("arcface", {}), ("arcface", {"margin": 1.2}), ("cosface", {"label_smoothing": 0.1})]
BATCH: list[Case] = [("supervised-contrastive", {}), ("circle", {"scale": 8.0}), *CLASSIFYING, *MINED]
BY_LENGTH_ONLY = {"contrastive", "triplet", "mined-triplet", "pair-entropy"}

seeds = st.integers(0, 2**32 - 1)
few = settings(max_examples=20)
"""Each law is tried on some twenty losses."""


def made(case: Case, dimensions: int = DIMENSIONS) -> Any:
    return build_loss(case[0], dimensions, CLASSES, case[1]).double()


def drawn(seed: int, *shape: int) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def batch(seed: int, count: int = 9) -> tuple[Tensor, Tensor]:
    labels = torch.randint(0, CLASSES, (count,), generator=torch.Generator().manual_seed(seed + 1))
    return drawn(seed, count, DIMENSIONS), labels


def pairs(seed: int, count: int = 8) -> tuple[Tensor, Tensor, Tensor]:
    mated = torch.rand(count, generator=torch.Generator().manual_seed(seed + 1)) < 0.5
    return drawn(seed, count, DIMENSIONS), drawn(seed + 2, count, DIMENSIONS), mated


def triplets(seed: int, count: int = 8) -> tuple[Tensor, Tensor, Tensor]:
    anchor, positive, negative = drawn(seed, 3, count, DIMENSIONS)
    return anchor, positive, negative


def given_to(kind: LossKind, seed: int) -> tuple[Tensor, ...]:
    return {LossKind.PAIR: pairs, LossKind.TRIPLET: triplets, LossKind.BATCH: batch}[kind](seed)


def rotation(seed: int) -> Tensor:
    turned: Tensor = torch.linalg.qr(drawn(seed, DIMENSIONS, DIMENSIONS))[0]
    return turned


# ---- the definitions, as loops


def distance(a: np.ndarray, b: np.ndarray, comparison: str) -> float:
    if comparison == "euclidean":
        return math.sqrt(sum((x - y) ** 2 for x, y in zip(a, b, strict=True)))
    return 1.0 - cosine(a, b)


def cosine(a: np.ndarray, b: np.ndarray) -> float:
    lengths = math.sqrt(sum(x * x for x in a)) * math.sqrt(sum(x * x for x in b))
    return float(sum(x * y for x, y in zip(a, b, strict=True)) / lengths)


def mean_of(terms: list[float], options: dict[str, Option]) -> float:
    if options.get("reduction") == "mean-of-active":
        terms = [term for term in terms if term > 0]
    return sum(terms) / len(terms) if terms else 0.0


def contrastive_loop(options: dict[str, Any], first: np.ndarray, second: np.ndarray, mated: np.ndarray) -> float:
    terms = []
    for a, b, same in zip(first, second, mated, strict=True):
        apart = distance(a, b, options.get("comparison", "euclidean"))
        lacking = max(0.0, options.get("margin", 1.0) - apart)
        terms.append(apart**2 / 2 if same else lacking**2 / 2)
    return mean_of(terms, options)


def entropy_loop(options: dict[str, Any], first: np.ndarray, second: np.ndarray, mated: np.ndarray) -> float:
    terms = []
    for a, b, same in zip(first, second, mated, strict=True):
        if options.get("head") == "componentwise":
            logit = 1.0 - sum(abs(x - y) for x, y in zip(a, b, strict=True)) / math.sqrt(len(a))
        else:
            logit = 1.0 - distance(a, b, "euclidean")
        probability = 1.0 / (1.0 + math.exp(-logit))
        terms.append(-math.log(probability if same else 1.0 - probability))
    return mean_of(terms, {})


def triplet_loop(options: dict[str, Any], anchor: np.ndarray, positive: np.ndarray, negative: np.ndarray) -> float:
    terms, power = [], 2 if options.get("squared", True) else 1
    for a, p, n in zip(anchor, positive, negative, strict=True):
        near, far = (distance(a, other, options.get("comparison", "euclidean")) ** power for other in (p, n))
        terms.append(max(0.0, near - far + options.get("margin", 0.2)))
    return mean_of(terms, options)


def mined_loop(options: dict[str, Any], x: np.ndarray, labels: np.ndarray) -> float:
    comparison, mining, margin = options.get("comparison", "euclidean"), options["mining"], options.get("margin", 0.2)
    power = 2 if options.get("squared", True) else 1
    found = []
    for i in range(len(x)):
        far = {j: distance(x[i], x[j], comparison) ** power for j in range(len(x)) if j != i}
        positives = [j for j in far if labels[j] == labels[i]]
        negatives = [j for j in far if labels[j] != labels[i]]
        if not positives or not negatives:
            continue
        if mining == "hard":
            found.append((i, max(positives, key=far.__getitem__), min(negatives, key=far.__getitem__)))
        for p in positives:
            fit = [n for n in negatives if far[p] < far[n] < far[p] + margin]
            if mining == "semi-hard" and fit:
                found.append((i, p, min(fit, key=far.__getitem__)))
            if mining == "all":
                found += [(i, p, n) for n in negatives]
    terms = []
    for i, p, n in found:
        near, far_ = (distance(x[i], x[j], comparison) ** power for j in (p, n))
        terms.append(max(0.0, near - far_ + margin))
    return mean_of(terms, options)


def supervised_contrastive_loop(options: dict[str, Any], x: np.ndarray, labels: np.ndarray) -> float:
    temperature, terms = options.get("temperature", 0.1), []
    for i in range(len(x)):
        others = [j for j in range(len(x)) if j != i]
        positives = [j for j in others if labels[j] == labels[i]]
        if positives:
            below = sum(math.exp(cosine(x[i], x[j]) / temperature) for j in others)
            found = [math.log(math.exp(cosine(x[i], x[p]) / temperature) / below) for p in positives]
            terms.append(-sum(found) / len(found))
    return mean_of(terms, {})


def circle_loop(options: dict[str, Any], x: np.ndarray, labels: np.ndarray) -> float:
    margin, scale, terms = options.get("margin", 0.25), options.get("scale", 80.0), []
    for i in range(len(x)):
        cosines = {j: cosine(x[i], x[j]) for j in range(len(x)) if j != i}
        p = [c for j, c in cosines.items() if labels[j] == labels[i]]
        q = [c for j, c in cosines.items() if labels[j] != labels[i]]
        if p and q:
            pulled = sum(math.exp(-scale * max(0.0, 1 + margin - c) * (c - 1 + margin)) for c in p)
            pushed = sum(math.exp(scale * max(0.0, c + margin) * (c - margin)) for c in q)
            terms.append(math.log(1 + pulled * pushed))
    return mean_of(terms, {})


def softmax_loop(case: Case, loss: MarginSoftmaxLoss, x: np.ndarray, labels: np.ndarray) -> float:
    terms, directions = [], loss.head.weight.detach().numpy()
    for row, label in zip(x, labels, strict=True):
        logits = []
        for number, direction in enumerate(directions):
            value = cosine(row, direction)
            if number == label and case[0] == "cosface":
                value -= loss.margin
            if number == label and case[0] == "arcface":
                angle = math.acos(value)
                beyond = value - loss.margin * math.sin(loss.margin)
                value = math.cos(angle + loss.margin) if angle + loss.margin < math.pi else beyond
            logits.append(loss.scale * value)
        whole = math.log(sum(math.exp(logit) for logit in logits))
        wanted = [loss.label_smoothing / len(logits)] * len(logits)
        wanted[label] += 1.0 - loss.label_smoothing
        terms.append(sum(w * (whole - logit) for w, logit in zip(wanted, logits, strict=True)))
    return mean_of(terms, {})


def looped(case: Case, loss: Any, *given_: Tensor) -> float:
    name, options = case
    arrays = [value.numpy() for value in given_]
    loops: dict[str, Callable[..., float]] = {
        "contrastive": contrastive_loop, "pair-entropy": entropy_loop, "triplet": triplet_loop,
        "mined-triplet": mined_loop, "supervised-contrastive": supervised_contrastive_loop, "circle": circle_loop,
    }  # fmt: skip
    if name in loops:
        return loops[name](options, *arrays)
    return softmax_loop(case, loss, *arrays)


def named(case: Case) -> str:
    return "-".join([case[0], *map(str, case[1].values())])


@pytest.mark.parametrize("case", PAIR + TRIPLET + BATCH, ids=named)
@few
@given(seed=seeds)
def test_a_loss_is_its_definition(case: Case, seed: int) -> None:
    """What is computed at once is what a loop over the formula gives, in float64."""
    loss = made(case)
    held = given_to(LOSSES[case[0]].kind, seed)
    assert loss(*held).item() == pytest.approx(looped(case, loss, *held), rel=1e-9, abs=1e-12)


def test_cross_entropy_is_minus_the_log_of_the_right_class() -> None:
    """Embeddings are the logits."""
    logits, labels = drawn(3, 5, CLASSES), torch.tensor([0, 1, 2, 2, 0])
    expected = [-math.log(math.exp(row[k]) / sum(map(math.exp, row))) for row, k in zip(logits, labels, strict=True)]
    loss = build_loss("cross-entropy", CLASSES, CLASSES, {})
    assert loss(logits, labels).item() == pytest.approx(sum(expected) / 5)


# ---- gradients


@pytest.mark.parametrize("case", [c for c in PAIR + TRIPLET + BATCH if c[0] != "circle"], ids=named)
@pytest.mark.parametrize("seed", [1, 20, 300])
def test_the_gradient_is_that_of_the_loss(case: Case, seed: int) -> None:
    """Differences of the loss agree with its gradient, for embeddings and for weights, away from kinks."""
    loss = made(case)
    held = given_to(LOSSES[case[0]].kind, seed)
    learned = [value.requires_grad_() for value in held if value.is_floating_point()]
    fixed = [value for value in held if not value.is_floating_point()]
    weights = list(loss.parameters())

    def of(*values: Tensor) -> Tensor:
        value: Tensor = loss(*values[: len(learned)], *fixed)
        return value

    assert torch.autograd.gradcheck(of, (*learned, *weights))


@pytest.mark.parametrize("seed", [1, 20, 300])
def test_the_circle_losss_gradient_takes_its_weights_as_they_are(seed: int) -> None:
    """Differences of the loss with its weights held agree with its gradient (section 3.1 of the paper)."""
    loss = CircleLoss(scale=8.0)
    x, labels = batch(seed)
    negative = labels[:, None] != labels
    positive = (~negative).fill_diagonal_(False)
    unit = torch.nn.functional.normalize(x)
    held = loss.weights(unit @ unit.T)
    anchors = positive.any(1) & negative.any(1)

    def of(values: Tensor) -> Tensor:
        direction = torch.nn.functional.normalize(values)
        return loss.weighted(direction @ direction.T, *held, positive, negative)[anchors].mean()

    x.requires_grad_()
    assert torch.autograd.gradcheck(of, (x,))
    (expected,) = torch.autograd.grad(of(x), x)
    (got,) = torch.autograd.grad(loss(x, labels), x)
    assert torch.allclose(got, expected)


@pytest.mark.parametrize("value", [0.0, 1.0], ids=["all-zero", "all-alike"])
@pytest.mark.parametrize("case", PAIR + TRIPLET + BATCH, ids=named)
def test_gradients_are_finite_at_the_kinks(case: Case, value: float) -> None:
    """Embeddings that are all the same, or all 0, give a finite loss and finite gradients."""
    loss = build_loss(case[0], DIMENSIONS, CLASSES, case[1])
    held = [
        torch.full_like(each, value, dtype=torch.float32).requires_grad_() if each.is_floating_point() else each
        for each in given_to(LOSSES[case[0]].kind, 4)
    ]
    made_loss = loss(*held)
    made_loss.backward()
    assert torch.isfinite(made_loss)
    assert all(torch.isfinite(each.grad).all() for each in held if each.grad is not None)


@pytest.mark.parametrize("name", ["arcface", "cosface"])
def test_gradients_are_finite_on_a_classs_own_direction(name: str) -> None:
    """An angle of 0 and one of pi have a finite gradient."""
    loss = build_loss(name, DIMENSIONS, CLASSES, {})
    assert isinstance(loss, MarginSoftmaxLoss)
    x = torch.cat([loss.head.weight.detach(), -loss.head.weight.detach()]).requires_grad_()
    loss(x, torch.tensor([0, 1, 2, 0, 1, 2])).backward()
    assert x.grad is not None
    assert torch.isfinite(x.grad).all()


# ---- laws


@pytest.mark.parametrize("case", PAIR + TRIPLET + BATCH, ids=named)
@few
@given(seed=seeds, order=st.permutations(range(8)))
def test_the_order_of_a_batch_means_nothing(case: Case, seed: int, order: list[int]) -> None:
    """Permuting what is given leaves the loss as it is."""
    loss = made(case)
    held = [value[:8] for value in given_to(LOSSES[case[0]].kind, seed)]
    permuted = [value[torch.tensor(order)] for value in held]
    assert loss(*permuted).item() == pytest.approx(loss(*held).item(), rel=1e-9, abs=1e-12)


@pytest.mark.parametrize(
    "case", [c for c in PAIR + TRIPLET + BATCH if c not in CLASSIFYING and "head" not in c[1]], ids=named
)
@few
@given(seed=seeds)
def test_turning_all_embeddings_means_nothing(case: Case, seed: int) -> None:
    """Distances and cosines know no axes."""
    loss, turn = made(case), rotation(seed + 9)
    held = given_to(LOSSES[case[0]].kind, seed)
    turned = [value @ turn if value.is_floating_point() else value for value in held]
    assert loss(*turned).item() == pytest.approx(loss(*held).item(), rel=1e-8, abs=1e-10)


@pytest.mark.parametrize(
    "case",
    [c for c in PAIR + TRIPLET + BATCH if c[0] not in BY_LENGTH_ONLY or c[1].get("comparison") == "cosine"],
    ids=named,
)
@few
@given(seed=seeds, scale=st.floats(1e-3, 1e3))
def test_a_cosine_does_not_see_lengths(case: Case, seed: int, scale: float) -> None:
    """Embeddings of any other length give the same loss."""
    loss = made(case)
    held = given_to(LOSSES[case[0]].kind, seed)
    scaled = [value * scale if value.is_floating_point() else value for value in held]
    assert loss(*scaled).item() == pytest.approx(loss(*held).item(), rel=1e-8, abs=1e-10)


@few
@given(seed=seeds, shift=st.floats(-10, 10))
def test_a_distance_does_not_see_the_origin(seed: int, shift: float) -> None:
    """Moving all embeddings leaves the losses of Euclidean distances as they are."""
    for case in (PAIR[0], TRIPLET[0], MINED[0]):
        held = given_to(LOSSES[case[0]].kind, seed)
        moved = [value + shift if value.is_floating_point() else value for value in held]
        assert made(case)(*moved).item() == pytest.approx(made(case)(*held).item(), rel=1e-7, abs=1e-9)


@few
@given(seed=seeds)
def test_the_sides_of_a_pair_are_alike(seed: int) -> None:
    """A pair loss is the same with its sides exchanged."""
    first, second, mated = pairs(seed)
    for case in PAIR:
        assert made(case)(second, first, mated).item() == pytest.approx(made(case)(first, second, mated).item())


# ---- where a loss is nothing


def test_a_contrastive_loss_is_zero_where_all_is_as_it_should_be() -> None:
    """Mated pairs in one place and non-mated ones a margin apart cost nothing."""
    first = torch.zeros(2, 3)
    second = torch.tensor([[0.0, 0.0, 0.0], [0.0, 1.0, 0.0]])
    assert build_loss("contrastive", 3, 2, {"margin": 1.0})(first, second, torch.tensor([True, False])) == 0.0


def test_a_triplet_loss_is_zero_beyond_its_margin_and_the_margin_where_nothing_is_told_apart() -> None:
    """0 where the negative is further by the margin; 0.2 where all three are one."""
    loss, zero = build_loss("triplet", 3, 2, {}), torch.zeros(1, 3)
    assert loss(zero, zero, zero + 1.0) == 0.0
    assert loss(zero, zero, zero).item() == pytest.approx(0.2)


@pytest.mark.parametrize("case", [c for c in BATCH if c not in CLASSIFYING], ids=named)
@pytest.mark.parametrize("labels", [[0, 1, 2], [0]], ids=["no mated pair", "one embedding"])
def test_a_batch_without_a_mated_pair_teaches_nothing(case: Case, labels: list[int]) -> None:
    """The loss is 0, and so is its gradient, on which backward can be called."""
    x = torch.randn(len(labels), DIMENSIONS, requires_grad=True)
    loss = build_loss(case[0], DIMENSIONS, CLASSES, case[1])(x, torch.tensor(labels))
    loss.backward()
    assert loss.item() == 0.0
    assert x.grad is None or not x.grad.any()


@pytest.mark.parametrize("case", [*MINED, ("circle", {})], ids=named)
def test_a_batch_of_one_class_teaches_those_nothing_that_need_a_negative(case: Case) -> None:
    """No triplet and no circle without a negative."""
    assert build_loss(case[0], DIMENSIONS, CLASSES, case[1])(torch.randn(4, DIMENSIONS), torch.zeros(4).long()) == 0.0


def test_a_margin_makes_a_class_harder() -> None:
    """ArcFace and CosFace cost more than the normalised softmax, which CosFace without a margin is."""
    x, labels = batch(6)
    plain = CosFaceLoss(DIMENSIONS, CLASSES, margin=0.0).double()(x, labels)
    assert CosFaceLoss(DIMENSIONS, CLASSES).double()(x, labels) > plain
    assert ArcFaceLoss(DIMENSIONS, CLASSES).double()(x, labels) > plain
    assert torch.isclose(ArcFaceLoss(DIMENSIONS, CLASSES, margin=0.0).double()(x, labels), plain)


@given(margin=st.floats(0.0, 1.5))
def test_arcfaces_target_falls_with_the_angle(margin: float) -> None:
    """The larger the angle to the right class, the lower its logit, also beyond pi - margin."""
    cosines = torch.linspace(-1, 1, 2001, dtype=torch.float64)
    lowered = ArcFaceLoss(DIMENSIONS, CLASSES, margin=margin).lowered(cosines)
    assert (lowered.diff() > -1e-6).all()
    assert (lowered <= cosines + 1e-6).all()


@pytest.mark.parametrize("case", [PAIR[0], PAIR[3], TRIPLET[0], *BATCH], ids=named)
def test_half_precision_is_computed_in_full(case: Case) -> None:
    """What autocast hands over gives a float32 loss, also within autocast."""
    held = [v.bfloat16() if v.is_floating_point() else v for v in given_to(LOSSES[case[0]].kind, 11)]
    full = [v.float() if v.is_floating_point() else v for v in held]
    loss = build_loss(case[0], DIMENSIONS, CLASSES, case[1])
    with torch.autocast("cpu", dtype=torch.bfloat16):
        got = loss(*held)
    assert got.dtype is torch.float32
    assert got.item() == pytest.approx(loss(*full).item(), rel=1e-4, abs=1e-6)


# ---- learning


@pytest.mark.parametrize("name", LOSSES)
def test_a_step_down_the_gradient_lowers_the_loss(name: str) -> None:
    """Embeddings that are free to move get better at what the loss asks."""
    options: dict[str, Option] = (
        {"mining": "hard"} if name == "mined-triplet" else {}
    )  # a step changes what is semi-hard
    loss = build_loss(name, CLASSES, CLASSES, options)
    held = [v[:, :CLASSES].float() if v.is_floating_point() else v for v in given_to(LOSSES[name].kind, 21)]
    learned = [v.clone().requires_grad_() for v in held if v.is_floating_point()]
    fixed = [v for v in held if not v.is_floating_point()]
    before = loss(*learned, *fixed)
    before.backward()
    with torch.no_grad():
        moved = [v - 1e-3 * v.grad for v in learned if v.grad is not None]
    assert loss(*moved, *fixed) < before


def test_the_head_of_pair_entropy_learns_with_it() -> None:
    """The head is found at `head`, and its two numbers are weights of the loss."""
    loss = build_loss("pair-entropy", 8, 10, {})
    assert isinstance(loss, PairEntropyLoss)
    assert [tuple(p.shape) for p in loss.parameters()] == [(1,), ()]
    assert loss.head(torch.zeros(2, 8), torch.zeros(2, 8)).tolist() == [1.0, 1.0]


def test_a_loss_starts_the_same_each_time() -> None:
    """What weights a loss has do not hang on what was drawn before."""
    first, second = (build_loss("arcface", 8, 10, {}) for _ in range(2))
    assert torch.equal(first.state_dict()["head.weight"], second.state_dict()["head.weight"])


# ---- what is refused


def test_label_conventions_say_the_opposite_of_each_other() -> None:
    """1 is mated to Koch and MATLAB, and not mated to Hadsell."""
    labels = torch.tensor([1, 0, 0])
    assert read_mated(labels, LabelConvention.MATED_IS_ONE).tolist() == [True, False, False]
    assert read_mated(labels.double(), LabelConvention.MATED_IS_ZERO).tolist() == [False, True, True]


@pytest.mark.parametrize("labels", [torch.tensor([0, 2]), torch.tensor([-1, 1]), torch.zeros(2, 1)])
def test_labels_of_pairs_are_zero_or_one(labels: Tensor) -> None:
    """Anything else is refused rather than read as one of them."""
    with pytest.raises(InvalidInputError, match="each 0 or 1"):
        read_mated(labels, LabelConvention.MATED_IS_ONE)


@pytest.mark.parametrize("name", [n for n, e in LOSSES.items() if e.kind is LossKind.PAIR])
def test_a_pair_loss_refuses_what_are_no_pairs(name: str) -> None:
    """The error names the field, what came, and what is allowed."""
    loss = build_loss(name, 4, 2, {})
    x, mated = torch.ones(3, 4), torch.ones(3).bool()
    for field, first, second, same in [
        ("second", x, torch.ones(2, 4), mated),
        ("first", torch.ones(3, 0), torch.ones(3, 0), mated),
        ("first", torch.ones(0, 4), torch.ones(0, 4), mated[:0]),
        ("first", torch.ones(4), torch.ones(4), mated),
        ("first", x.long(), x, mated),
        ("mated", x, x, mated[:2]),
        ("mated", x, x, mated.long()),
        ("mated", x, x, mated[:, None]),
    ]:
        with pytest.raises(InvalidInputError, match=f"^{field}: got .*; allowed: "):
            loss(first, second, same)


def test_a_triplet_loss_refuses_sides_that_differ() -> None:
    """All three sides have one shape."""
    x = torch.ones(3, 4)
    for field, sides in [("positive", (x, x[:2], x)), ("negative", (x, x, x[:, :2])), ("anchor", (x[:0], x, x))]:
        with pytest.raises(InvalidInputError, match=f"^{field}: got"):
            build_loss("triplet", 4, 2, {})(*sides)


@pytest.mark.parametrize("name", [n for n, e in LOSSES.items() if e.kind is LossKind.BATCH])
def test_a_batch_loss_refuses_labels_that_do_not_fit(name: str) -> None:
    """Labels are int64, one for each embedding."""
    loss, x = build_loss(name, 4, 4, {}), torch.ones(3, 4)
    for field, embeddings, labels in [
        ("labels", x, torch.zeros(2).long()),
        ("labels", x, torch.zeros(3)),
        ("labels", x, torch.zeros(3, 1).long()),
        ("embeddings", torch.ones(3, 0), torch.zeros(3).long()),
        ("embeddings", torch.ones(0, 4), torch.zeros(0).long()),
    ]:
        with pytest.raises(InvalidInputError, match=f"^{field}: got .*; allowed: "):
            loss(embeddings, labels)


@pytest.mark.parametrize("name", ["arcface", "cosface", "cross-entropy"])
@pytest.mark.parametrize("label", [-1, 3])
def test_a_label_of_no_class_is_refused(name: str, label: int) -> None:
    """Classes are 0 to class_count - 1."""
    with pytest.raises(InvalidInputError, match="0 to 2"):
        build_loss(name, 3, 3, {})(torch.ones(1, 3), torch.tensor([label]))


@pytest.mark.parametrize(
    ("name", "options", "told"),
    [
        ("contrastve", {}, "loss.name"),
        ("contrastive", {"margn": 1.0}, r"loss.options.margn.*one of margin, comparison, reduction"),
        ("contrastive", {"margin": 0.0}, "margin: got 0"),
        ("contrastive", {"margin": "wide"}, "a number"),
        ("contrastive", {"margin": True}, "a number"),
        ("contrastive", {"comparison": "manhattan"}, "one of euclidean, cosine"),
        ("contrastive", {"comparison": 3}, "one of euclidean, cosine"),
        ("triplet", {"squared": 1}, "true or false"),
        ("mined-triplet", {"seed": 1.5}, "a whole number"),
        ("supervised-contrastive", {"temperature": 0.0}, "temperature"),
        ("supervised-contrastive", {"temperature": math.nan}, "temperature"),
        ("arcface", {"margin": 2.0}, "margin"),
        ("cosface", {"scale": -1.0}, "scale"),
        ("cross-entropy", {}, "dimensions: got 4; allowed: 3"),
        ("arcface", {"dimensions": 4}, "one of margin, scale, label_smoothing"),
    ],
)
def test_a_loss_that_cannot_be_is_refused(name: str, options: dict[str, Option], told: str) -> None:
    """An unknown name or option and a value out of range are named before anything is made."""
    with pytest.raises(InvalidInputError, match=told):
        build_loss(name, 4, 3, options)


def test_every_loss_is_of_the_kind_that_the_table_says() -> None:
    """The table's kind is the class's base."""
    bases = {LossKind.PAIR: PairLoss, LossKind.TRIPLET: TripletLoss, LossKind.BATCH: BatchLoss}
    for name, entry in LOSSES.items():
        assert isinstance(build_loss(name, 3, 3, {}), bases[entry.kind])


def test_whole_numbers_do_for_numbers() -> None:
    """A margin of 1 is one of 1.0."""
    x = torch.randn(4, 3)
    same = torch.tensor([True, False, True, False])
    one, other = (build_loss("contrastive", 3, 2, {"margin": margin}) for margin in (1, 1.0))
    assert all(torch.equal(one(a, b, same), other(a, b, same)) for a, b in itertools.pairwise([x, -x, x * 2]))
