"""The answers to an audit, read from the history of decisions.

The audit is complete when every drawn image has an answer. Up to then people may correct
themselves; what holds then is what is counted, and who changes their own answer afterwards, or
takes it back, has changed the evidence. An answer of somebody else about an image that was answered
already is a second opinion: the first stays, and the two together tell how often people err.

Whoever cannot tell counts against the promise: as a right label where wrong ones are listed, as a
wrong one where right ones are.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from labelsieve.runs.decisions import (
    NAMING,
    SETTLED,
    WRONG,
    Decision,
    person_of,
)


@dataclass
class Answers:
    """What people said about the drawn images.

    Attributes:
        wrong: whether each label is wrong, by sample id; None where nobody could tell.
        named: the right label, where somebody named it, by sample id.
        second: of images answered by two people, first and second answer, by sample id.
        complete_at: number of the decision that completed the audit; None before.
        edited: the first image whose answer was changed after that; empty: none.
    """

    wrong: dict[str, bool | None] = field(default_factory=dict)
    named: dict[str, str] = field(default_factory=dict)
    second: dict[str, tuple[bool, bool]] = field(default_factory=dict)
    complete_at: int | None = None
    edited: str = ""

    @property
    def unclear(self) -> int:
        """How many could not be judged."""
        return sum(answer is None for answer in self.wrong.values())


def replay(
    ids: Sequence[str],
    rows: Iterable[Decision],
    after: int,
    given: Mapping[str, str],
) -> Answers:
    """Answers to the images `ids` in the history.

    Args:
        ids: drawn images.
        rows: of the history, oldest first.
        after: number of the last decision before the audit.
        given: label that was judged, by sample id.
    """
    found = _Replay(
        {sample_id: given[sample_id] for sample_id in ids if sample_id in given}
    )
    for row in rows:
        if row.seq > after and row.sample_id in found.given:
            found.take(row)
    return found.answers(ids)


class _Replay:
    """State of an audit after each decision."""

    def __init__(self, given: Mapping[str, str]) -> None:
        self.given = given
        self.result = Answers()
        # decisions of the first person about each image that are not undone, latest last
        self._stacks: dict[str, list[Decision]] = {}

    def take(self, row: Decision) -> None:
        """One more row of the history."""
        stack = self._stacks.get(row.sample_id, [])
        if row.undoes is not None:
            # what is left of it; nothing changes where it takes back what somebody else said
            left = [decision for decision in stack if decision.seq != row.undoes]
            self._stacks[row.sample_id] = left
        elif stack and person_of(row.by) != person_of(stack[0].by):
            self._second(row, stack)
        else:
            self._stacks[row.sample_id] = [*stack, row]
            self._complete(row.seq)

    def _complete(self, seq: int) -> None:
        if self.result.complete_at is not None:
            return
        states = self._states()
        if len(states) == len(self.given):
            self.result.complete_at = seq
            # what holds now is counted, whatever is said later
            self.result.wrong = states

    def _second(self, row: Decision, stack: list[Decision]) -> None:
        first = self._state(stack)
        other = self._means(row)
        if first is not None and other is not None:
            self.result.second[row.sample_id] = (first, other)

    def _means(self, row: Decision) -> bool | None:
        if row.verdict not in (*SETTLED, *WRONG):
            return None
        # to name the given label as the right one is to keep it
        names_given = row.label == self.given[row.sample_id]
        return row.verdict in WRONG and not names_given

    def _state(self, stack: list[Decision]) -> bool | None:
        """What a person said last; to skip an image takes nothing back."""
        for row in reversed(stack):
            meant = self._means(row)
            if meant is not None:
                return meant
        return None

    def _states(self) -> dict[str, bool | None]:
        return {i: self._state(stack) for i, stack in self._stacks.items() if stack}

    def answers(self, ids: Sequence[str]) -> Answers:
        """The result, in the order of the draw."""
        states = self._states()
        result = self.result
        if result.complete_at is not None:
            result.edited = self._first_edited(result.wrong, states)
            states = result.wrong
        result.wrong = {i: states[i] for i in ids if i in states}
        for sample_id, stack in self._stacks.items():
            for row in stack:
                if row.verdict in NAMING and row.label is not None:
                    result.named[sample_id] = row.label
        return result

    def _first_edited(
        self, counted: Mapping[str, bool | None], now: Mapping[str, bool | None]
    ) -> str:
        for sample_id, answer in counted.items():
            # who could not tell and then could has given no other answer
            if answer is not None and now.get(sample_id) != answer:
                return sample_id
        return ""
