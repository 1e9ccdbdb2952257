"""Answers that are computed once, and kept while few different ones are asked for."""

from custom_components.homebattery.drivers.kept import Kept


def test_an_answer_is_computed_once_until_it_is_cleared() -> None:
    asked: list[str] = []

    def compute(name: str) -> int:
        asked.append(name)
        return len(name)

    kept = Kept(compute)
    assert [kept["one"], kept["three"], kept["one"]] == [3, 5, 3]
    assert asked == ["one", "three"]
    kept.clear()
    assert kept["one"] == 3
    assert asked == ["one", "three", "one"]


def test_no_more_answers_are_kept_than_polls_need() -> None:
    kept = Kept(str)
    for number in range(1000):
        assert kept[number] == str(number)
    assert len(kept) <= 16
