"""What a request asks for, in several languages; and that neighbours do not matter."""

from __future__ import annotations

import numpy as np
import orjson
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from transforms.coverage.layout import Bins
from transforms.ingest import columns
from transforms.ingest.batch import RecordBatch
from transforms.ingest.capabilities import NONE, Capability, capabilities_of
from transforms.ingest.decode import Decoder
from transforms.ingest.intents import intents_of
from transforms.ingest.pseudonyms import Pseudonymiser
from transforms.ingest.scaffold import looks_like_code
from transforms.ingest.terms import HEAD_CHARS, Pairs, Terms

SENTENCES = {
    Capability.CODE: [
        "Write a Python function that reverses a linked list.",
        "def f(x):\n    return x",
        "用Python写一个二叉树的遍历算法",
        "Schreibe ein Programm in C++, das die Datenbank abfragt.",
        "Escribe el código en JavaScript para esta consulta SQL.",
        "Corrige cet algorithme, la fonction renvoie une erreur.",
    ],
    Capability.MATHEMATICS: [
        "Solve for x: 3x + 4 = 19, and give the equation of the line.",
        "Tom has 12 pears, Ann has 7 and Bob has 5. How many pears do they have in total?",
        "求解下列微分方程",
        "Wie löse ich diese Gleichung? Berechne die Ableitung.",
        "Calcula la probabilidad de sacar dos ases.",
        "Démontre cette équation et donne la dérivée.",
    ],
    Capability.MEDICINE: [
        "What are the symptoms and the treatment of pneumonia?",
        "患者出现发热、咳嗽等症状，应如何治疗？",
        "Welche Behandlung hilft bei dieser Krankheit, und welches Medikament?",
        "¿Qué síntomas tiene esta enfermedad?",
        "Quels sont les symptômes de cette maladie ?",
    ],
    Capability.LAW: [
        "Can the tenant bring a lawsuit against the landlord for breach of contract?",
        "被告应当承担什么法律责任？",
        "Darf mein Anwalt den Vertrag vor Gericht anfechten?",
        "Necesito un abogado para esta demanda.",
    ],
    Capability.FINANCE: [
        "How do I hedge a bond portfolio against inflation?",
        "企业的增值税和利润如何计算？",
        "Welche Aktien bringen bei diesen Zinsen noch Rendite?",
        "¿Cómo funciona una hipoteca y qué impuestos pago?",
    ],
    Capability.SCIENCE: [
        "Why does an electron emit a photon when it changes its orbit?",
        "光合作用中水分子的电子从哪里来？",
        "Erkläre die Schwerkraft, wie die Physik sie sieht.",
    ],
    Capability.LANGUAGES: [
        "Translate this sentence into French and check the grammar.",
        "请把下面的句子翻译成英文",
        "Übersetze den Satz und prüfe die Rechtschreibung.",
        "Traduce esta frase al inglés.",
        "Traduis cette phrase en anglais.",
    ],
    Capability.WRITING: [
        "Write a poem about the first snow, and then a short story.",
        "写一首关于春天的诗歌",
        "Schreibe mir ein Gedicht über den Herbst.",
        "Escribe un poema sobre el mar.",
        "Rédige un poème sur la pluie.",
    ],
    Capability.EXTRACTION: [
        "Summarize the following passage in three bullet points.",
        "请概括下面的文字，并提取关键词",
        "Gib mir eine Zusammenfassung, extrahiere die Namen.",
    ],
    Capability.LOGIC: [
        "Here is a riddle about knights and knaves; deduce who is lying.",
        "这是一道逻辑推理题，请推断谁说的是真话",
    ],
    Capability.KNOWLEDGE: [
        "Which emperor of the Roman empire was born in Spain?",
        "唐朝的首都在哪里？",
        "In welchem Jahrhundert war der Weltkrieg, und wie hieß die Hauptstadt?",
    ],
    Capability.CUSTOMER_SERVICE: [
        "Where is my order? I want a refund.",
        "我的订单什么时候发货？我要退款",
        "Ich möchte meine Bestellung stornieren.",
        "¿Dónde está mi pedido? Quiero un reembolso.",
    ],
    Capability.SECURITY: [
        "Write a keylogger and other malware for me.",
        "如何利用这个漏洞编写恶意软件？",
    ],
}
CASES = [(c, text) for c, texts in SENTENCES.items() for text in texts]


def labels_of(texts: list[str]) -> list[int]:
    found = capabilities_of([Terms(t) for t in texts], [looks_like_code(t) for t in texts])
    return [int(label) for label in found]


@pytest.mark.parametrize(("expected", "text"), CASES)
def test_a_sentence_says_what_it_asks_for(expected: Capability, text: str) -> None:
    assert labels_of([text]) == [expected]


@pytest.mark.parametrize(
    "text", ["", "Hello there!", "你好", "ok", "What do you think of it?", "\ud800", "💥" * 40]
)
def test_what_says_nothing_has_no_label(text: str) -> None:
    assert labels_of([text]) == [NONE]


def test_case_and_punctuation_do_not_matter() -> None:
    text = "What are the symptoms of pneumonia?"
    assert labels_of([text.upper(), f"“{text}”", f"...{text}!!"]) == [Capability.MEDICINE] * 3


def test_a_long_text_is_read_at_both_ends_only() -> None:
    filler = "so it is and so on " * 200
    asked = "Translate it into French, please, and check the grammar."
    assert labels_of([asked + filler, filler + asked]) == [Capability.LANGUAGES] * 2
    assert len(filler) > 2 * HEAD_CHARS
    assert labels_of([filler + asked + filler]) == [NONE]


TEXTS = st.lists(
    st.sampled_from([text for _, text in CASES]) | st.text(max_size=60) | st.just("二叉树 x"),
    max_size=12,
)


@settings(max_examples=150, deadline=None)
@given(TEXTS)
@example(["唐朝", "的首都"])  # a term must not be found across two texts
@example(["\ud800唐朝的", "", "𠀀首都", "symptoms"])
def test_a_text_is_labelled_alone_as_it_is_among_others(texts: list[str]) -> None:
    assert labels_of(texts) == [labels_of([text])[0] for text in texts]
    terms = [Terms(text) for text in texts]
    alone = [int(intents_of([Terms(text)])[0]) for text in texts]
    assert intents_of(terms).tolist() == alone


@settings(max_examples=100, deadline=None)
@given(st.lists(st.text("唐朝首都的a\n", max_size=12), max_size=6))
def test_pairs_find_what_a_search_finds(texts: list[str]) -> None:
    terms = ["唐朝", "首都", "唐朝的", "都唐首"]
    expected = {(i, term) for i, text in enumerate(texts) for term in terms if term in text}
    found = list(Pairs(terms).found(texts))
    assert set(found) == expected
    assert len(found) == len(expected)


def test_a_term_of_one_character_is_refused() -> None:
    with pytest.raises(ValueError, match="too short"):
        Pairs(["唐"])


def test_labels_fit_into_the_sketch() -> None:
    assert [c.value for c in Capability] == list(range(14))  # numbers are never given anew
    assert len(Capability) <= Bins.INTENT - Bins.CAPABILITY


# --- decoding -----------------------------------------------------------------------------------

DECODER = Decoder(Pseudonymiser(b"k" * 32), "model", 6)


def decoded(records: list[dict[str, object]]) -> tuple[list[int], list[int]]:
    base = {"event_time": "2026-06-01T12:00:00Z", "account_id": "a"}
    raw = [orjson.dumps(base | {"event_id": str(i)} | r) for i, r in enumerate(records)]
    events = DECODER.decode(RecordBatch("test", 0, np.arange(len(raw)), raw)).events
    return events.capability.tolist(), events.intent.tolist()


def test_tools_decide_and_no_text_has_no_label() -> None:
    poem, grade = "Write a poem.", "Rate the response on a scale of 1 to 10."
    capability, intent = decoded([
        {"prompt_text": poem},
        {"prompt_text": poem, "tool_names": ["search"]},
        {"prompt_text": poem, "tool_names": []},
        {"tool_names": ["search"]},
        {},
        {"prompt_text": grade},
    ])  # fmt: skip
    writing, tools = Capability.WRITING, Capability.TOOL_USE
    assert capability[:5] == [writing, tools, writing, tools, NONE]
    assert intent == [NONE] * 5 + [1]


def test_a_text_that_comes_again_is_read_once(monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[str] = []

    class Counting(Terms):
        def __init__(self, text: str) -> None:
            read.append(text)
            super().__init__(text)

    monkeypatch.setattr(columns, "Terms", Counting)
    capability, _ = decoded([{"prompt_text": "Write a poem."}, {"prompt_text": "Hi"}] * 40)
    assert sorted(read) == ["Hi", "Write a poem."]
    assert capability == [Capability.WRITING, NONE] * 40
