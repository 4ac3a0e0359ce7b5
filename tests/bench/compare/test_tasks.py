"""Tasks tell right answers from wrong ones."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from bench.compare.command import make_task
from bench.compare.tasks.base import Problem, cut, spread
from bench.compare.tasks.gsm8k import Gsm8k
from bench.compare.tasks.humaneval import HumanEval


@pytest.fixture
def gsm8k(tmp_path: Path) -> Gsm8k:
    rows = [
        {"question": f"What is {i} + 1?", "answer": f"It is <<{i}+1={i + 1}>>.\n#### {i + 1:,}"}
        for i in range(999, 1003)
    ]
    path = tmp_path / "gsm8k.jsonl"
    path.write_text("\n".join(map(json.dumps, rows)))
    return Gsm8k(path)


def test_a_word_problem_is_solved_by_its_last_number(gsm8k: Gsm8k) -> None:
    [problem] = gsm8k.problems(1)
    assert gsm8k.solves(problem, " 999 + 1 is 1,000.") and gsm8k.solves(problem, "so 1000.0")
    assert not gsm8k.solves(problem, " 999") and not gsm8k.solves(problem, "I do not know")


def test_a_file_that_is_not_gsm8k_is_refused(tmp_path: Path) -> None:
    (tmp_path / "other.jsonl").write_text('{"prompt": "x"}\n')
    with pytest.raises(ValueError, match="must be a JSONL file"):
        Gsm8k(tmp_path / "other.jsonl").problems(1)
    with pytest.raises(ValueError, match="must be a JSONL file"):
        Gsm8k(tmp_path / "absent.jsonl").problems(1)


def test_a_function_is_solved_where_its_tests_pass(tmp_path: Path) -> None:
    row = {
        "prompt": "def double(x):\n",
        "entry_point": "double",
        "test": "def check(candidate):\n    assert candidate(2) == 4\n    assert candidate(0) == 0\n",
    }
    task, problem = HumanEval(tmp_path), Problem(row["prompt"], (), row)
    assert task.solves(problem, "    return 2 * x\n")
    assert not task.solves(problem, "    return x\n")
    assert not task.solves(problem, "    return (\n")
    assert not task.solves(problem, "    while True: pass\n")


def test_a_changed_copy_of_humaneval_is_refused(tmp_path: Path) -> None:
    (tmp_path / "HumanEval.jsonl.gz").write_bytes(b"something else")
    with pytest.raises(ValueError, match="not the file it should be"):
        HumanEval(tmp_path).problems(1)


@pytest.mark.slow
def test_humaneval_can_be_fetched_and_its_own_solutions_pass(tmp_path: Path) -> None:
    task = HumanEval(tmp_path)
    problems = task.problems(8)
    assert len(problems) == 8
    assert all(task.solves(problem, problem.data["canonical_solution"]) for problem in problems)


def test_an_unknown_task_is_refused() -> None:
    for word in ("mmlu", "gsm8k", "humaneval=x"):
        with pytest.raises(ValueError, match="--task"):
            make_task(word)


def test_problems_are_spread_and_answers_cut() -> None:
    assert spread(list(range(10)), 3) == [0, 3, 6] and spread([1], 5) == [1]
    assert cut("a\ndef b\n#", ("\n#", "\ndef ")) == "a" and cut("a", ("x",)) == "a"
