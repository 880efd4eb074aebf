"""Second opinions: steps as AdamW makes them, views as TPT chooses them, and no leak of labels."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from labelsieve.features import in_context
from labelsieve.features.in_context import Head, Settings, adapt, draw

K, D = 5, 8
TPT = {"answer": "picture"}


def drawn(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


HEAD = Head(drawn(K, D, seed=1), drawn(K, seed=2))
NONE = (torch.empty(1, 0, D), torch.empty(1, 0, dtype=torch.int64))


def test_without_examples_and_v_it_is_the_step_of_tpt() -> None:
    """As in the authors' code: select by entropy, log-mean-exp, one step of AdamW, answer."""
    views = drawn(1, 20, D)
    settings = Settings(visual=False, strength=0.0, rivals=K, lr=0.02, keep=0.25, **TPT)
    found = adapt(views, *NONE, HEAD, settings)
    prompt = torch.nn.Parameter(torch.zeros(K, D))
    optimizer = torch.optim.AdamW([prompt], lr=0.02)

    def answers(x: torch.Tensor) -> torch.Tensor:
        return (
            x @ (HEAD.weight + HEAD.weight.norm(dim=1)[:, None] * prompt).T + HEAD.bias
        )

    output = answers(views[0])
    batch_entropy = -(output.softmax(1) * output.log_softmax(1)).sum(1)
    idx = torch.argsort(batch_entropy, descending=False)[: int(20 * 0.25)]
    logits = output[idx] - output[idx].logsumexp(dim=-1, keepdim=True)
    avg_logits = logits.logsumexp(dim=0) - np.log(logits.shape[0])
    loss = -(avg_logits * torch.exp(avg_logits)).sum(dim=-1)
    loss.backward()
    optimizer.step()
    wanted = answers(views[0, :1]).softmax(1).detach()
    torch.testing.assert_close(found, wanted)
    assert not torch.allclose(
        found, (views[0, :1] @ HEAD.weight.T + HEAD.bias).softmax(1)
    )


def test_both_steps_are_those_of_adamw_one_after_the_other() -> None:
    views, examples = drawn(1, 12, D), drawn(1, 6, D, seed=3)
    first = (views[0, :1] @ HEAD.weight.T + HEAD.bias).topk(3).indices[0]
    labels = first.repeat(2)[None]
    settings = Settings(lr=0.01, strength=0.7, keep=0.3, **TPT)
    found = adapt(views, examples, labels, HEAD, settings)
    v = torch.nn.Parameter(torch.zeros(D))
    u = torch.nn.Parameter(torch.zeros(3, D))

    def answers(x: torch.Tensor) -> torch.Tensor:
        weight = HEAD.weight.clone()
        weight = weight.index_add(0, first, weight[first].norm(dim=1)[:, None] * u)
        return (x + x.norm(dim=1, keepdim=True) * v) @ weight.T + HEAD.bias

    with torch.no_grad():
        log_p = answers(views[0]).log_softmax(1)
    kept = (-(log_p.exp() * log_p).sum(1)).argsort()[:3]
    for one in (v, u):
        optimizer = torch.optim.AdamW([one], lr=0.01)
        optimizer.zero_grad()
        p = answers(views[0, kept]).softmax(1).mean(0)
        loss = -(p * p.log()).sum()
        loss = loss + 0.7 * F.cross_entropy(answers(examples[0]), labels[0])
        v.grad = u.grad = None
        loss.backward()
        optimizer.step()
    wanted = answers(views[0, :1]).softmax(1).detach()
    torch.testing.assert_close(found, wanted, atol=1e-5, rtol=1e-5)


def test_the_answer_may_be_the_mean_of_views() -> None:
    views = drawn(1, 6, D)
    still = adapt(views, *NONE, HEAD, Settings(lr=0.0))
    wanted = (views[0] @ HEAD.weight.T + HEAD.bias).softmax(1).mean(0)
    torch.testing.assert_close(still[0], wanted)
    picture = adapt(views, *NONE, HEAD, Settings(lr=0.0, **TPT))
    torch.testing.assert_close(
        picture[0], (views[0, 0] @ HEAD.weight.T + HEAD.bias).softmax(0)
    )


def test_marginal_entropy_of_equal_views_is_that_of_one() -> None:
    one = drawn(2, 1, K)
    p = one[:, 0].softmax(1)
    wanted = -(p * p.log()).sum(1)
    found = in_context.marginal_entropy(one.expand(-1, 7, -1))
    torch.testing.assert_close(found, wanted)


def test_surest_views_are_kept_and_one_at_least() -> None:
    answers = torch.zeros(1, 5, 3)
    answers[0, :, 0] = torch.tensor([1.0, 5.0, 0.0, 4.0, 2.0])
    assert in_context.surest(answers, 0.4).tolist() == [[1, 3]]
    assert in_context.surest(answers, 0.01).tolist() == [[1]]


def test_a_small_step_lowers_the_loss() -> None:
    """Of one view without examples the loss is the entropy of the answer; of examples their CE."""
    views = drawn(4, 1, D) / 4

    def entropy(lr: float) -> torch.Tensor:
        p = adapt(
            views, *(t.expand(4, *t.shape[1:]) for t in NONE), HEAD, Settings(lr=lr)
        )
        return -(p * p.log()).sum(1)

    assert (entropy(0.01) < entropy(0.0)).all()
    # the picture is its own example of the class that is less likely
    rivals = in_context.likeliest((views @ HEAD.weight.T + HEAD.bias)[:, 0], 2)
    wanted = rivals[:, 1:]

    def told(lr: float) -> torch.Tensor:
        settings = Settings(lr=lr, rivals=2, strength=9.0)
        return adapt(views, views, wanted, HEAD, settings).gather(1, wanted)

    assert (told(0.01) > told(0.0)).all()


def test_no_picture_sees_another_and_nothing_is_kept() -> None:
    views, examples = drawn(3, 6, D), drawn(3, 6, D, seed=3)
    rivals = in_context.likeliest(views[:, 0] @ HEAD.weight.T + HEAD.bias, 3)
    labels = rivals.repeat(1, 2)
    together = adapt(views, examples, labels, HEAD, Settings())
    before = HEAD.weight.clone()
    for i in (2, 0, 1):
        part = slice(i, i + 1)
        alone = adapt(views[part], examples[part], labels[part], HEAD, Settings())
        torch.testing.assert_close(alone[0], together[i])
    assert torch.equal(HEAD.weight, before) and not HEAD.weight.requires_grad


def test_examples_depend_on_the_key_alone_and_are_of_every_rival_alike() -> None:
    pool = {0: np.arange(10), 1: np.arange(10, 12), 2: np.arange(20, 40)}
    rows, classes = draw("a#1", [2, 0, 1], pool, 4)
    again, _ = draw("a#1", [2, 0, 1], pool, 4)
    other, _ = draw("a#2", [2, 0, 1], pool, 4)
    assert rows.tolist() == again.tolist() != other.tolist()
    assert classes.tolist() == [2] * 4 + [0] * 4 + [1] * 4
    assert all(row in pool[c] for row, c in zip(rows, classes, strict=True))
    # two examples, each as often
    assert sorted(rows[8:]) == [10, 10, 11, 11]
    assert not len(draw("a#1", [0, 3], pool, 4)[0])


@pytest.mark.parametrize("leak", [False, True])
def test_a_useless_encoder_is_no_better_than_chance(leak: bool) -> None:
    """Examples chosen by the picture's own class would be seen here: then it is far from chance."""
    n, k = 500, 4
    rng = np.random.default_rng(0)
    truth = rng.integers(0, k, n)
    # all classes alike, and features that mean nothing, around a common mean as encoders have
    head = Head(drawn(1, D, seed=1).expand(k, D), torch.zeros(k))
    mean = drawn(D, seed=7)
    features, examples = mean + drawn(n, 1, D, seed=5), mean + drawn(k * 20, D, seed=6)
    pool = {c: np.arange(c, k * 20, k) for c in range(k)}
    settings = Settings(lr=0.05, rivals=k, keep=1.0)
    right = 0
    for i in range(n):
        rivals = [c for c in range(k) if not leak or c != truth[i]]
        rows, classes = draw(str(i), rivals, pool, 3)
        labels = torch.from_numpy(classes)[None]
        given = examples[torch.from_numpy(rows)][None]
        probs = adapt(features[i : i + 1], given, labels, head, settings)
        right += int(probs[0].argmax()) == truth[i]
    sigma = (1 / k * (1 - 1 / k) / n) ** 0.5
    assert (abs(right / n - 1 / k) > 3 * sigma) == leak
