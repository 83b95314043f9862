"""Tell-tale wordings, and ordinary requests that only look like them."""

from __future__ import annotations

import pytest

from transforms.coverage.layout import Bins
from transforms.ingest.intents import NONE, Intent, intents_of
from transforms.ingest.terms import Terms

WORDINGS = {
    Intent.REASONING_ELICITATION: [
        "What is 17 * 23? Let's think step by step.",
        "Solve it, and write out all of your reasoning before the answer.",
        "Put your thoughts between <think> and </think> first.",
        "Give a detailed chain-of-thought for the following question.",
        "请一步一步地思考，并写出完整的推理过程。",
        "Denke Schritt für Schritt und antworte dann.",
        "Razona paso a paso antes de responder.",
        "Réfléchis étape par étape avant de répondre.",
    ],
    Intent.GRADING: [
        "Rate the response below on a scale from 1 to 10 for helpfulness.",
        "Act as an impartial judge and say which assistant's answer is better.",
        "Use this rubric to score the essay.",
        "Compare the two responses and choose one.",
        "请根据评分标准给这个回答打分，1到10分。",
        "Bewerte die folgende Antwort auf einer Skala von 1 bis 5.",
    ],
    Intent.TASK_GENERATION: [
        "Come up with 20 diverse instructions for a language model.",
        "You are asked to write a set of twenty different tasks. Task 1: greet. Task 2: sum.",
        "Generate ten new questions about enzymes.",
        "请生成20条多样化的指令。",
        "Erstelle zehn neue Aufgaben zur Grammatik.",
        "Genera 10 preguntas sobre historia.",
    ],
    Intent.EVOLVING: [
        "Rewrite the given prompt into a more complex version.\n#Given Prompt#: list fruits",
        "Increase the difficulty of the following question by adding one more constraint.",
        "请把下面的指令改写得更复杂一些。",
        "把这道题改成更难的版本，提高题目的难度。",
    ],
    Intent.DATA_SYNTHESIS: [
        "Generate synthetic examples of support tickets as JSONL.",
        "Create 50 question-answer pairs from the text.",
        "根据下文生成问答对，用作训练数据。",
    ],
    Intent.REWRITING: [
        "Paraphrase the sentence in five different ways.",
        "请用三种不同的说法改写这句话。",
    ],
    Intent.SELF_CHAT: [
        "Write a conversation between a human and an AI assistant about tea.",
        "Simulate a user who asks for help with taxes.",
        "请模拟用户和助手的对话。",
    ],
}
ORDINARY = [
    "Which book is better for a beginner?",
    "Please give me step-by-step instructions to install the printer.",
    "How do I rate my driver?",
    "My task list is too long, help me to order it.",
    "Rewrite this paragraph so that it sounds friendlier.",
    "What is the better route to take to work?",
    "The data in my spreadsheet is wrong.",
    "今天的任务太多了，怎么办？",
    "",
]


def intent(text: str) -> int:
    return int(intents_of([Terms(text)])[0])


@pytest.mark.parametrize(
    ("expected", "text"), [(i, text) for i, texts in WORDINGS.items() for text in texts]
)
def test_a_wording_tells_what_the_prompt_is_for(expected: Intent, text: str) -> None:
    assert intent(text) == expected


@pytest.mark.parametrize("text", ORDINARY)
def test_ordinary_requests_tell_nothing(text: str) -> None:
    assert intent(text) == NONE


def test_the_most_telling_wording_counts() -> None:
    elicit = "Let's think step by step."
    assert intent(f"Rate the response on a scale of 1 to 10. {elicit}") == Intent.GRADING
    assert intent(f"Make this task more difficult. {elicit}") == Intent.EVOLVING


def test_every_intent_has_wordings_and_a_slot() -> None:
    assert [i.value for i in Intent] == list(range(7))  # numbers are never given anew
    assert len(Intent) <= Bins.KNOWN - Bins.INTENT
    assert set(WORDINGS) == set(Intent)
