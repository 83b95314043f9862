"""Ways of writing the same request. They belong to people and to programs, not to intentions:
benign accounts and attackers draw their style from the same distribution."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

PLAIN, TERSE, POLITE, SLOPPY, CHATTY, FORMAL = range(6)
STYLE_SHARES = np.array([0.30, 0.16, 0.14, 0.16, 0.10, 0.14])

_POLITE = {
    "en": (("Hello, ", "Could you please help? ", "Good morning! ", "Please: "), (" Thank you!",)),
    "es": (("Hola, ", "Por favor: "), (" ¡Gracias!",)),
    "de": (("Hallo, ", "Bitte: "), (" Danke!",)),
    "fr": (("Bonjour, ", "S'il vous plaît : "), (" Merci !",)),
    "pt": (("Olá, ", "Por favor: "), (" Obrigado!",)),
    "zh": (("你好，", "请问，"), ("谢谢！",)),
}
_CHATTY = {
    "en": (
        "So I have been at this since the morning and I am a bit lost. ",
        "My colleague asked me about this yesterday. ",
        "Not sure if this is the right place, but here goes: ",
        "I read a few pages on the web and they contradict each other. ",
        "Quick one while I wait for the bus. ",
    ),
    "es": ("Llevo toda la mañana con esto. ", "Mi compañera me preguntó ayer. "),
    "de": ("Ich sitze schon den ganzen Vormittag daran. ", "Eine Kollegin hat mich gefragt: "),
    "fr": ("J'y suis depuis ce matin. ", "Un collègue m'a posé la question hier. "),
    "pt": ("Estou nisso desde cedo. ", "Um colega me perguntou ontem. "),
    "zh": ("我研究了一上午还是不明白。", "同事昨天问了我这个问题。"),
}
_FORMAL = {
    "en": (
        " Structure the answer with headings and support each claim with a reason.",
        " Provide a comprehensive answer that covers the relevant considerations.",
        " Ensure that the response is clear, self-contained and well organised.",
        " Include an example and mention at least one limitation.",
    ),
    "es": (" Estructura la respuesta en apartados.", " Incluye un ejemplo detallado."),
    "de": (" Gliedere die Antwort in Abschnitte.", " Nenne ein ausführliches Beispiel."),
    "fr": (" Structure la réponse en parties.", " Donne un exemple détaillé."),
    "pt": (" Estruture a resposta em partes.", " Inclua um exemplo detalhado."),
    "zh": ("请分点作答并给出理由。", "请提供完整且条理清晰的回答。"),
}


def habits(rng: np.random.Generator) -> NDArray[np.float64]:
    """How often one writer uses each style, float64 of shape (6,), sum 1: mostly one of them."""
    weights = 0.25 * STYLE_SHARES
    weights[rng.choice(len(STYLE_SHARES), p=STYLE_SHARES)] += 0.75
    return weights


def restyle(text: str, style: int, language: str, salt: int) -> str:
    """Writes a request in a style; the same arguments always give the same text."""
    if style == PLAIN:
        return text
    if style == TERSE:
        return text.rstrip(".?!。？").lower()
    if style == POLITE:
        before, after = _POLITE[language]
        return before[salt % len(before)] + _lower_first(text) + after[salt % len(after)]
    if style == CHATTY:
        openings = _CHATTY[language]
        return openings[salt % len(openings)] + text
    if style == FORMAL:
        endings = _FORMAL[language]
        return text + endings[salt % len(endings)]
    return _sloppy(text, salt)


def _lower_first(text: str) -> str:
    return text if text[:2] == "I " else text[:1].lower() + text[1:]


def _sloppy(text: str, salt: int) -> str:
    """Swaps two letters, drops one, and forgets capitals and the full stop."""
    text = text.rstrip(".。").lower()
    size = len(text)
    if size < 8:
        return text
    at = 1 + salt % (size - 4)
    text = text[:at] + text[at + 1] + text[at] + text[at + 2 :]
    if salt & 1:
        at = 1 + (salt >> 9) % (size - 4)
        text = text[:at] + text[at + 1 :]
    return text
