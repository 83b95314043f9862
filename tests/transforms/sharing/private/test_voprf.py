"""The function against RFC 9497's vectors, and what it must refuse."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from transforms.sharing.private import voprf

h = bytes.fromhex
# Appendix A.1.2: seed and key info are those of all vectors of the mode.
KEY = voprf.key_pair(b"\xa3" * 32, b"test key")
BLIND = h("64d37aed22a27f5191de1c1d69fadb899d8862b58eb4220029e036ec4c1f6706")
NONCE = h("222a5e897cf59db8145db8d16e597e8facb80ae7d4e26d9881aa6f61d645fc0e")
OTHER_NONCE = h("419c4f4f5052c53c45f3da494d2b67b220d02118e0857cdbcf037f9ea84bbe0c")
INPUTS = (b"\0", b"\x5a" * 17)
VECTORS = [
    (
        [BLIND],
        INPUTS[:1],
        ["863f330cc1a1259ed5a5998a23acfd37fb4351a793a5b3c090b642ddc439b945"],
        ["aa8fa048764d5623868679402ff6108d2521884fa138cd7f9c7669a9a014267e"],
        NONCE,
        "ddef93772692e535d1a53903db24367355cc2cc78de93b3be5a8ffcc6985dd06"
        "6d4346421d17bf5117a2a1ff0fcb2a759f58a539dfbe857a40bce4cf49ec600d",
    ),
    (
        [BLIND],
        INPUTS[1:],
        ["cc0b2a350101881d8a4cba4c80241d74fb7dcbfde4a61fde2f91443c2bf9ef0c"],
        ["60a59a57208d48aca71e9e850d22674b611f752bed48b36f7a91b372bd7ad468"],
        NONCE,
        "401a0da6264f8cf45bb2f5264bc31e109155600babb3cd4e5af7d181a2c9dc0a"
        "67154fabf031fd936051dec80b0b6ae29c9503493dde7393b722eafdf5a50b02",
    ),
    (
        [BLIND, NONCE],
        INPUTS,
        [
            "863f330cc1a1259ed5a5998a23acfd37fb4351a793a5b3c090b642ddc439b945",
            "90a0145ea9da29254c3a56be4fe185465ebb3bf2a1801f7124bbbadac751e654",
        ],
        [
            "aa8fa048764d5623868679402ff6108d2521884fa138cd7f9c7669a9a014267e",
            "cc5ac221950a49ceaa73c8db41b82c20372a4c8d63e5dded2db920b7eee36a2a",
        ],
        OTHER_NONCE,
        "cc203910175d786927eeb44ea847328047892ddf8590e723c37205cb74600b0a"
        "5ab5337c8eb4ceae0494c2cf89529dcf94572ed267473d567aeed6ab873dee08",
    ),
]


def test_keys_are_derived_as_the_rfc_says() -> None:
    assert KEY.secret == h("e6f73f344b79b379f1a0dd37e07ff62e38d9f71345ce62ae3a9bc60b04ccd909")
    assert KEY.public == h("c803e2cc6b05fc15064549b5920659ca4a77b2cca6f04f6b357009335476ad4e")


@pytest.mark.parametrize(("blinds", "inputs", "blinded", "evaluated", "nonce", "proof"), VECTORS)
def test_vectors_of_the_rfc(blinds, inputs, blinded, evaluated, nonce, proof) -> None:
    asked = [
        voprf.multiply(blind, [voprf.hash_to_group(data)])[0]
        for blind, data in zip(blinds, inputs, strict=True)
    ]
    answered = voprf.multiply(KEY.secret, asked)
    assert asked == [h(point) for point in blinded]
    assert answered == [h(point) for point in evaluated]
    assert voprf.prove(KEY, asked, answered, nonce) == h(proof)
    assert voprf.proves(KEY.public, asked, answered, h(proof))


@given(st.binary(min_size=1, max_size=40))
def test_blinding_leaves_no_trace(data: bytes) -> None:
    point = voprf.hash_to_group(data)
    blind = voprf.random_scalar()
    [answer] = voprf.multiply(KEY.secret, voprf.multiply(blind, [point]))
    assert voprf.divide(blind, [answer]) == voprf.multiply(KEY.secret, [point])


def test_a_proof_holds_for_its_key_points_and_order_only() -> None:
    asked = [voprf.hash_to_group(bytes([i])) for i in range(5)]
    answered = voprf.multiply(KEY.secret, asked)
    proof = voprf.prove(KEY, asked, answered)
    assert voprf.proves(KEY.public, asked, answered, proof)
    other = voprf.key_pair(b"\1" * 32, b"other")
    [stray] = voprf.multiply(other.secret, asked[2:3])
    assert not voprf.proves(other.public, asked, answered, proof)
    assert not voprf.proves(KEY.public, asked, [*answered[:2], stray, *answered[3:]], proof)
    assert not voprf.proves(KEY.public, asked, answered[::-1], proof)
    assert not voprf.proves(KEY.public, asked, answered[:-1], proof)
    assert not voprf.proves(KEY.public, asked, answered, bytes([proof[0] ^ 1]) + proof[1:])
    assert not voprf.proves(KEY.public, [], [], proof)


@pytest.mark.parametrize("bad", [b"", bytes(32), b"\xff" * 32, b"\1" + bytes(31), b"a" * 33])
def test_what_is_no_point_is_refused(bad: bytes) -> None:
    with pytest.raises(voprf.BadPoint):
        voprf.multiply(KEY.secret, [bad])


def test_outputs_differ_by_kind_and_key() -> None:
    [one] = voprf.multiply(KEY.secret, [voprf.hash_to_group(b"x")])
    [two] = voprf.multiply(voprf.random_scalar(), [voprf.hash_to_group(b"x")])
    values = {voprf.output(kind, point) for kind in ("payment", "device") for point in (one, two)}
    assert len(values) == 4
    assert {len(value) for value in values} == {voprf.OUTPUT_BYTES}
