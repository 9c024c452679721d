# SPDX-License-Identifier: MIT
"""ML-KEM-768 (FIPS 203) in plain Python, by the standard's algorithms and numbers: a witness, not constant-time."""

from __future__ import annotations

from hashlib import sha3_256, sha3_512, shake_128, shake_256

Q = 3329
N = 256
K = 3
DU, DV = 10, 4
ENCAPSULATION_KEY_BYTES, DECAPSULATION_KEY_BYTES, CIPHERTEXT_BYTES = 1184, 2400, 1088

Polynomial = list[int]


def _reversed_bits(number: int) -> int:
    return int(f"{number:07b}"[::-1], 2)


_ZETAS = [pow(17, _reversed_bits(index), Q) for index in range(128)]
_GAMMAS = [pow(17, 2 * _reversed_bits(index) + 1, Q) for index in range(128)]


def _encode(values: Polynomial, bits: int) -> bytes:
    """ByteEncode, algorithm 5."""
    return sum(value << bits * index for index, value in enumerate(values)).to_bytes(32 * bits, "little")


def _decode(data: bytes, bits: int) -> Polynomial:
    """ByteDecode, algorithm 6; of 12 bits unreduced, so that a check of the modulus is a comparison."""
    number = int.from_bytes(data, "little")
    return [number >> bits * index & (1 << bits) - 1 for index in range(N)]


def _compress(values: Polynomial, bits: int) -> Polynomial:
    return [((value << bits) + Q // 2) // Q & (1 << bits) - 1 for value in values]


def _decompress(values: Polynomial, bits: int) -> Polynomial:
    return [value * Q + (1 << bits - 1) >> bits for value in values]


def _sample_ntt(seed: bytes) -> Polynomial:
    """Algorithm 7."""
    data = shake_128(seed).digest(3 * 1024)
    values: Polynomial = []
    for at in range(0, len(data), 3):
        low = data[at] | (data[at + 1] & 15) << 8
        high = data[at + 1] >> 4 | data[at + 2] << 4
        values += [value for value in (low, high) if value < Q]
    return values[:N]


def _noise(seed: bytes, counter: int) -> Polynomial:
    """PRF and SamplePolyCBD of eta 2, algorithm 8."""
    bits = int.from_bytes(shake_256(seed + bytes([counter])).digest(128), "little")
    quads = [bits >> 4 * index & 15 for index in range(N)]
    return [((quad & 1) + (quad >> 1 & 1) - (quad >> 2 & 1) - (quad >> 3)) % Q for quad in quads]


def _ntt(values: Polynomial) -> Polynomial:
    """Algorithm 9."""
    values, index, length = list(values), 1, 128
    while length >= 2:
        for start in range(0, N, 2 * length):
            zeta, index = _ZETAS[index], index + 1
            for at in range(start, start + length):
                turned = zeta * values[at + length] % Q
                values[at + length] = (values[at] - turned) % Q
                values[at] = (values[at] + turned) % Q
        length //= 2
    return values


def _inverse_ntt(values: Polynomial) -> Polynomial:
    """Algorithm 10."""
    values, index, length = list(values), 127, 2
    while length <= 128:
        for start in range(0, N, 2 * length):
            zeta, index = _ZETAS[index], index - 1
            for at in range(start, start + length):
                low = values[at]
                values[at] = (low + values[at + length]) % Q
                values[at + length] = zeta * (values[at + length] - low) % Q
        length *= 2
    return [value * 3303 % Q for value in values]


def _multiply(a: Polynomial, b: Polynomial) -> Polynomial:
    """Algorithms 11 and 12."""
    product: Polynomial = []
    for index, gamma in enumerate(_GAMMAS):
        a0, a1, b0, b1 = *a[2 * index : 2 * index + 2], *b[2 * index : 2 * index + 2]
        product += [(a0 * b0 + a1 * b1 * gamma) % Q, (a0 * b1 + a1 * b0) % Q]
    return product


def _add(*polynomials: Polynomial) -> Polynomial:
    return [sum(values) % Q for values in zip(*polynomials, strict=True)]


def _dot(a: list[Polynomial], b: list[Polynomial]) -> Polynomial:
    return _add(*map(_multiply, a, b))


def _matrix(rho: bytes) -> list[list[Polynomial]]:
    return [[_sample_ntt(rho + bytes([column, row])) for column in range(K)] for row in range(K)]


def _encrypt(key: bytes, message: bytes, randomness: bytes) -> bytes:
    """K-PKE.Encrypt, algorithm 14."""
    t = [_decode(key[384 * row : 384 * row + 384], 12) for row in range(K)]
    matrix = _matrix(key[384 * K :])
    y = [_ntt(_noise(randomness, index)) for index in range(K)]
    e1 = [_noise(randomness, K + index) for index in range(K)]
    u = [_add(_inverse_ntt(_dot([matrix[row][column] for row in range(K)], y)), e1[column]) for column in range(K)]
    mu = _decompress(_decode(message, 1), 1)
    v = _add(_inverse_ntt(_dot(t, y)), _noise(randomness, 2 * K), mu)
    return b"".join(_encode(_compress(row, DU), DU) for row in u) + _encode(_compress(v, DV), DV)


def generate(seed: bytes) -> tuple[bytes, bytes]:
    """(decapsulation key, encapsulation key). seed: 64 octets, d and z (algorithms 13 and 16)."""
    expanded = sha3_512(seed[:32] + bytes([K])).digest()
    rho, sigma = expanded[:32], expanded[32:]
    matrix = _matrix(rho)
    s = [_ntt(_noise(sigma, index)) for index in range(K)]
    e = [_ntt(_noise(sigma, K + index)) for index in range(K)]
    t = [_add(_dot(matrix[row], s), e[row]) for row in range(K)]
    public = b"".join(_encode(row, 12) for row in t) + rho
    private = b"".join(_encode(row, 12) for row in s)
    return private + public + sha3_256(public).digest() + seed[32:], public


def encapsulate(key: bytes, message: bytes) -> tuple[bytes, bytes]:
    """(ciphertext, secret), algorithm 17. message: 32 random octets. ValueError by the checks of section 7.2."""
    if len(key) != ENCAPSULATION_KEY_BYTES:
        raise ValueError("length of an encapsulation key")
    if any(value >= Q for row in range(K) for value in _decode(key[384 * row : 384 * row + 384], 12)):
        raise ValueError("modulus of an encapsulation key")
    expanded = sha3_512(message + sha3_256(key).digest()).digest()
    return _encrypt(key, message, expanded[32:]), expanded[:32]


def decapsulate(key: bytes, ciphertext: bytes) -> bytes:
    """The secret, algorithm 18: another one for a ciphertext that is wrong. ValueError by the checks of section 7.3."""
    if len(key) != DECAPSULATION_KEY_BYTES or len(ciphertext) != CIPHERTEXT_BYTES:
        raise ValueError("length of a decapsulation key or a ciphertext")
    private, public = key[: 384 * K], key[384 * K : 768 * K + 32]
    digest, rejection = key[768 * K + 32 : 768 * K + 64], key[768 * K + 64 :]
    if sha3_256(public).digest() != digest:
        raise ValueError("hash of a decapsulation key")
    u = [_decompress(_decode(ciphertext[320 * row : 320 * row + 320], DU), DU) for row in range(K)]
    v = _decompress(_decode(ciphertext[320 * K :], DV), DV)
    s = [_decode(private[384 * row : 384 * row + 384], 12) for row in range(K)]
    product = _inverse_ntt(_dot(s, [_ntt(row) for row in u]))
    message = _encode(_compress([(a - b) % Q for a, b in zip(v, product, strict=True)], 1), 1)
    expanded = sha3_512(message + digest).digest()
    if _encrypt(public, message, expanded[32:]) != ciphertext:
        return shake_256(rejection + ciphertext).digest(32)
    return expanded[:32]
